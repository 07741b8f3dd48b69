"""Tests for authors of rules: `check_rule` and the laws of rules."""

from ._check import LAWS as LAWS
from ._check import check_rule as check_rule

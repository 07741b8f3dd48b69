"""The laws that every rule keeps, for people who write rules."""

from ._check import LAWS as LAWS
from ._check import check_rule as check_rule

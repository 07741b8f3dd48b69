"""Rows of tables of messages: a call, and words that its message contains."""

import re

import pytest


def refuses(row):
    """What is done raises an error of one kind that has these words, in their order."""
    do, *words = row
    said = ".*".join(map(re.escape, words))
    with pytest.raises((TypeError, ValueError), match=f"(?s){said}"):
        do()

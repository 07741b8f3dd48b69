"""The law about what a rule says of itself."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax

from ..rules import Rule

# What a rule may need that a neuron does not have: the words of the locality report.
NEEDS = (
    *("weight transport", "separate phases", "global error", "global reward"),
    *("stored activities", "derivative of the nonlinearity", "update locking"),
    *("signed error units", "second network", "labels in every layer"),
    "backward through time",
)


def declares(rule: Rule) -> None:
    """It has citations, needs in the known words, a loss, and a sound search space."""
    for text in re.split(r"\n(?=@)", rule.citation):
        entry = re.fullmatch(r"@\w+\{\s*[^\s,{}]+\s*,(.*)\}\s*", text, re.DOTALL)
        fields = set(re.findall(r"(\w+)\s*=\s*[\"{]", entry[1])) if entry else set()
        if "title" not in fields:
            problem = "has no title" if entry else "is not one BibTeX entry"
            raise AssertionError(f"`citation` {problem}: {text[:60]!r}")
    unknown = set(rule.needs) - set(NEEDS)
    if unknown:
        raise AssertionError(f"`needs` has {sorted(unknown)}; the words are {NEEDS}")
    known = rule.descends in ("loss", "squared-error")
    if not known and type(rule).descended is Rule.descended:
        raise AssertionError(
            f"`descends` is {rule.descends!r}: a loss of your own needs `descended`, "
            "which returns it"
        )
    _is_a_pytree(rule)
    for name, bounds in rule.search_space.items():
        _is_a_range(rule, name, bounds)


def _is_a_pytree(rule: Rule) -> None:
    leaves, treedef = jax.tree.flatten(rule)
    if len(leaves) == 1 and leaves[0] is rule:
        raise AssertionError("the class is no pytree: decorate it with `@rule`")
    if jax.tree.unflatten(treedef, leaves) != rule:
        raise AssertionError("flattened and put together again, the rule is another")


def _is_a_range(rule: Rule, name: str, bounds: Any) -> None:
    numbers = {
        f.name
        for f in dataclasses.fields(rule)  # type: ignore[arg-type]
        if not f.metadata.get("static")
    }
    if name not in numbers:
        raise AssertionError(
            f"`search_space` names {name!r}; the rule's numbers are {sorted(numbers)}"
        )
    try:
        low, high, scale = bounds
        sound = low < high and (scale == "linear" or (scale == "log" and low > 0))
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise AssertionError(
            f"`search_space[{name!r}]` is {bounds!r}, not (low, high, 'log' or "
            "'linear') with low < high (and above 0 for 'log')"
        )
    for end in bounds[:2]:
        _accepts(rule, name, end)


def _accepts(rule: Rule, name: str, number: float) -> None:
    try:
        dataclasses.replace(rule, **{name: number})  # type: ignore[type-var]
    except ValueError as error:
        raise AssertionError(
            f"`search_space` offers {name}={number}, which the rule refuses: {error}"
        ) from error

"""Lookup of rules by name, and of user-defined rules, as rows of a comparison."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import jax

from apical import rules
from apical.lab._call_syntax import (
    NamedCall,
    parse_call,
    parse_call_or_name,
    parse_literal,
    split_names,
)
from apical.lab._errors import LabError, find_attribute, require_names, resolve_names
from apical.lab._registry import BASELINE, RULES, SQUARED
from apical.lab._rule_spec import RuleSpec, argument_names, descended, with_arguments

_EXAMPLE = "feedback-alignment(removed_backward=0.9)"
Named = Mapping[str, Any]  # rules, or classes of rules, by name
Rules = str | Iterable[str | Named] | Named
Vary = str | Mapping[str, Iterable[Any]]


def find_rules(wanted: Rules, vary: Vary | None = None) -> dict[str, RuleSpec]:
    """The specs of these rules, by the names of their rows.

    Args:
        wanted: names, with arguments if wanted; rules by name.
        vary: a hyper-parameter and its values: one row each for a rule that has it.
    """
    items = listed(wanted)
    require_names("rules", [i for i in items if not isinstance(i, Mapping)], "rule")
    if [item.strip() for item in items if isinstance(item, str)] == ["all"]:
        items = [part for i in items for part in (RULES if isinstance(i, str) else [i])]
    found: dict[str, RuleSpec] = {}
    for item in items:
        found |= _by_name(item) if isinstance(item, Mapping) else _named(item)
    if not found:
        resolve_names("rule", [], RULES)
    return found if vary is None else _varied(found, vary)


def listed(wanted: Any) -> list[Any]:
    """Names and mappings as a list; anything else is refused later."""
    if isinstance(wanted, str):
        return split_names(wanted)
    single = isinstance(wanted, Mapping) or not isinstance(wanted, Iterable)
    return [wanted] if single else list(wanted)


def find_spec(name: str) -> RuleSpec | None:
    """The spec that a row of this name was made from; None for a user's rule."""
    return RULES.get(parse_call_or_name(name).name)


def with_baselines(specs: dict[str, RuleSpec], loss: str) -> dict[str, RuleSpec]:
    """These specs, and backpropagation of every loss that one of them descends.

    It is added after backpropagation, and only where that is among them.
    """
    wanted = {descended(spec.make(), loss) for spec in specs.values()} - {loss}
    if BASELINE not in specs or "squared-error" not in wanted:
        return specs
    found: dict[str, RuleSpec] = {}
    for name, spec in specs.items():
        found[name] = spec
        if name == BASELINE:
            found[SQUARED] = RULES[SQUARED]
    return found


def _by_name(made: Named) -> dict[str, RuleSpec]:
    require_names("rules", made, "rule")
    return {name: _spec(name, rule) for name, rule in made.items()}


def _named(text: str) -> dict[str, RuleSpec]:
    name, arguments = parse_call(text, "--rules", _EXAMPLE)
    if ":" in name:
        found = find_attribute(name, "--rules")
        spec = _spec(f"--rules {name}", found, arguments)
    else:
        (name,) = resolve_names("rule", [name], RULES)
        spec = RULES[name]
    if not arguments:
        return {name: spec}
    return dict([with_arguments(NamedCall(name, {}), spec, arguments)])


def _varied(specs: dict[str, RuleSpec], vary: Vary) -> dict[str, RuleSpec]:
    """One row per value, in the place of the rule that has the number."""
    number, values = _read_vary(vary)
    numbers = {name: argument_names(spec) for name, spec in specs.items()}
    resolve_names(
        "number of these rules", [number], {n for of in numbers.values() for n in of}
    )
    found: dict[str, RuleSpec] = {}
    for name, spec in specs.items():
        base = parse_call_or_name(name)
        # A number given by the user keeps its value.
        if number in numbers[name] and number not in base.arguments:
            found |= dict(
                with_arguments(base, spec, {number: value}) for value in values
            )
        else:
            found[name] = spec
    return found


def _read_vary(vary: Vary) -> tuple[str, list[Any]]:
    example = "--vary removed_backward=0,0.5,0.9"
    if isinstance(vary, str):
        number, sign, texts = vary.partition("=")
        if not sign:
            raise LabError(f"--vary {vary}: write a number and its values: {example}")
        found = [parse_literal(text, f"--vary {vary}") for text in split_names(texts)]
        vary = {number.strip(): found}
    if len(vary) != 1:
        raise LabError(f"vary names {len(vary)} numbers, and must name one: {example}")
    ((number, values),) = vary.items()
    return number.replace("-", "_"), list(values)


def _spec(name: str, rule: Any, arguments: Mapping[str, Any] | None = None) -> RuleSpec:
    made = _made(name, rule, arguments or {}) if isinstance(rule, type) else rule
    if not isinstance(made, rules.Rule):
        raise LabError(
            f"{name} is not a rule but {made!r}: subclass `apical.rules.Rule`"
        )
    if jax.tree_util.all_leaves([made]):
        raise LabError(
            f"{name} is not registered: write `@apical.rules.rule` above `class "
            f"{type(made).__name__}`"
        )
    return RuleSpec(lambda: made)


def _made(name: str, rule: type, arguments: Mapping[str, Any]) -> Any:
    """The rule with its defaults, and those arguments that have no default."""
    there_are = fields(rule) if is_dataclass(rule) else ()
    needed = {f.name for f in there_are if f.default is f.default_factory is MISSING}
    try:
        return rule(**{n: value for n, value in arguments.items() if n in needed})
    except Exception as error:
        raise LabError(
            f"{name} cannot be made by {rule.__name__}() ({error}): give every number "
            "a default, or name a rule that has been made"
        ) from error

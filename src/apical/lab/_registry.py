"""The rows of a comparison: each name, and the rule it stands for."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import jax

from apical import rules
from apical.lab._control import UntrainedHiddenLayers
from apical.lab._entry import Entry, descended, fields_of, given
from apical.lab._errors import LabError, known, require_names
from apical.lab._modules import find_attribute
from apical.lab._rows_energy import ENERGY
from apical.lab._rows_local_objectives import LOCAL_OBJECTIVES
from apical.lab._rows_predictive_coding import PREDICTIVE_CODING
from apical.lab._rows_scalar_feedback import SCALAR_FEEDBACK
from apical.lab._rows_targets import TARGETS
from apical.lab._spelling import (
    Spelled,
    literal,
    spelled,
    spelled_or_bare,
    split_names,
)


def _sweep() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(inference=rules.Sweep())


def _sign_of_error() -> rules.DirectFeedbackAlignment:
    return rules.DirectFeedbackAlignment(error="sign")


def _free() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free")


def _of_squared_error() -> rules.Backpropagation:
    return rules.Backpropagation(descends="squared-error")


BASELINE = "backpropagation"
# What a rule is compared with that descends the squared error, whatever the loss is.
SQUARED = "backprop-squared-error"
CONTROL = "untrained-hidden-layers"

_FIRST: dict[str, Entry] = {
    BASELINE: Entry(rules.Backpropagation),
    "feedback-alignment": Entry(rules.FeedbackAlignment),
    "sign-concordance": Entry(rules.SignConcordance),
    "kolen-pollack": Entry(rules.KolenPollack),
    "weight-mirror": Entry(rules.WeightMirror, cost=2.0),
    "direct-feedback-alignment": Entry(rules.DirectFeedbackAlignment),
    "direct-feedback-alignment-sign": Entry(_sign_of_error),
    "direct-random-target-projection": Entry(rules.DirectRandomTargetProjection),
    "predictive-coding": Entry(rules.PredictiveCoding),
    # One sweep is exact at rate 1: there is nothing else to draw.
    "predictive-coding-sweep": Entry(_sweep, space={}),
    "predictive-coding-free": Entry(_free, cost=8.0),
    CONTROL: Entry(UntrainedHiddenLayers, cost=0.3),
}
# Every rule, the control last: what `--rules all` compares.
RULES: dict[str, Entry] = {
    BASELINE: _FIRST[BASELINE],
    SQUARED: Entry(_of_squared_error),
    **{name: entry for name, entry in _FIRST.items() if name != CONTROL},
    **PREDICTIVE_CODING,
    **ENERGY,
    **TARGETS,
    **LOCAL_OBJECTIVES,
    **SCALAR_FEEDBACK,
    CONTROL: _FIRST[CONTROL],
}
# Those that are compared if none is named.
COMPARED: tuple[str, ...] = tuple(_FIRST)

_EXAMPLE = "feedback-alignment(removed_backward=0.9)"
Named = Mapping[str, Any]  # rules, or classes of rules, by name
Rules = str | Iterable[str | Named] | Named
Vary = str | Mapping[str, Iterable[Any]]


def find_rules(wanted: Rules, vary: Vary | None = None) -> dict[str, Entry]:
    """The entries of these rules, by the names of their rows.

    Args:
        wanted: names, perhaps with arguments, as texts; rules by name.
        vary: a number, and its values: a rule that has it gets a row for each.
    """
    items = listed(wanted)
    require_names("rules", [i for i in items if not isinstance(i, Mapping)], "rule")
    if [item.strip() for item in items if isinstance(item, str)] == ["all"]:
        items = [part for i in items for part in (RULES if isinstance(i, str) else [i])]
    found: dict[str, Entry] = {}
    for item in items:
        found |= _by_name(item) if isinstance(item, Mapping) else _named(item)
    if not found:
        known("rule", [], RULES)
    return found if vary is None else _varied(found, vary)


def listed(wanted: Any) -> list[Any]:
    """Names and mappings, one after the other; what is neither is refused later."""
    if isinstance(wanted, str):
        return split_names(wanted)
    single = isinstance(wanted, Mapping) or not isinstance(wanted, Iterable)
    return [wanted] if single else list(wanted)


def find_entry(name: str) -> Entry | None:
    """The entry that a row of this name was made from; None for an own rule's."""
    return RULES.get(spelled_or_bare(name).name)


def with_baselines(entries: dict[str, Entry], loss: str) -> dict[str, Entry]:
    """These entries, with backpropagation for every loss that one of them descends.

    It is added behind backpropagation, if that is among them: whoever leaves it out
    wants no comparison with it.
    """
    wanted = {descended(entry.make(), loss) for entry in entries.values()} - {loss}
    if BASELINE not in entries or "squared-error" not in wanted:
        return entries
    found: dict[str, Entry] = {}
    for name, entry in entries.items():
        found[name] = entry
        if name == BASELINE:
            found[SQUARED] = RULES[SQUARED]
    return found


def _by_name(made: Named) -> dict[str, Entry]:
    require_names("rules", made, "rule")
    return {name: _entry(name, rule) for name, rule in made.items()}


def _named(text: str) -> dict[str, Entry]:
    name, arguments = spelled(text, "--rules", _EXAMPLE)
    if ":" in name:
        found = find_attribute(name, "--rules")
        entry = _entry(f"--rules {name}", found, arguments)
    else:
        (name,) = known("rule", [name], RULES)
        entry = RULES[name]
    if not arguments:
        return {name: entry}
    return dict([given(Spelled(name, {}), entry, arguments)])


def _varied(entries: dict[str, Entry], vary: Vary) -> dict[str, Entry]:
    """A row for each value, in the place of the rule that has the number."""
    number, values = _read_vary(vary)
    numbers = {name: fields_of(entry) for name, entry in entries.items()}
    known("number of these rules", [number], {n for of in numbers.values() for n in of})
    found: dict[str, Entry] = {}
    for name, entry in entries.items():
        base = spelled_or_bare(name)
        # One that is given stays as it is given.
        if number in numbers[name] and number not in base.arguments:
            found |= dict(given(base, entry, {number: value}) for value in values)
        else:
            found[name] = entry
    return found


def _read_vary(vary: Vary) -> tuple[str, list[Any]]:
    example = "--vary removed_backward=0,0.5,0.9"
    if isinstance(vary, str):
        number, sign, texts = vary.partition("=")
        if not sign:
            raise LabError(f"--vary {vary}: write a number and its values: {example}")
        found = [literal(text, f"--vary {vary}") for text in split_names(texts)]
        vary = {number.strip(): found}
    if len(vary) != 1:
        raise LabError(f"vary names {len(vary)} numbers, and must name one: {example}")
    ((number, values),) = vary.items()
    return number.replace("-", "_"), list(values)


def _entry(name: str, rule: Any, arguments: Mapping[str, Any] | None = None) -> Entry:
    made = _made(name, rule, arguments or {}) if isinstance(rule, type) else rule
    if not isinstance(made, rules.Rule):
        raise LabError(f"{name} is no rule but {made!r}: subclass `apical.rules.Rule`")
    if jax.tree_util.all_leaves([made]):
        raise LabError(
            f"{name} is not registered: write `@apical.rules.rule` above `class "
            f"{type(made).__name__}`"
        )
    return Entry(lambda: made)


def _made(name: str, rule: type, arguments: Mapping[str, Any]) -> Any:
    """The rule with its defaults, and of the arguments those that have none."""
    there_are = fields(rule) if is_dataclass(rule) else ()
    needed = {f.name for f in there_are if f.default is f.default_factory is MISSING}
    try:
        return rule(**{n: value for n, value in arguments.items() if n in needed})
    except Exception as error:
        raise LabError(
            f"{name} cannot be made by {rule.__name__}() ({error}): give every number "
            "a default, or name a rule that has been made"
        ) from error

"""The rows of a comparison: each name, and the rule it stands for."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from apical import rules
from apical.lab._control import UntrainedHiddenLayers
from apical.lab._entry import Entry, descended
from apical.lab._errors import LabError, known, require_names
from apical.lab._modules import find_attribute
from apical.lab._rows_energy import ENERGY
from apical.lab._rows_local_objectives import LOCAL_OBJECTIVES
from apical.lab._rows_predictive_coding import PREDICTIVE_CODING
from apical.lab._rows_scalar_feedback import SCALAR_FEEDBACK
from apical.lab._rows_targets import TARGETS


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

Rules = Iterable[str] | Mapping[str, rules.Rule]


def find_rules(wanted: Rules) -> dict[str, Entry]:
    """The entries with these names, of these rules, or at `module:attribute`."""
    if isinstance(wanted, Mapping) and wanted:
        return {name: _entry(name, rule) for name, rule in wanted.items()}
    if isinstance(wanted, str):
        wanted = wanted.split(",")
    require_names("rules", wanted, "rule")
    names = [name.strip() for name in wanted]
    if names == ["all"]:
        return dict(RULES)
    if not names:
        known("rule", names, RULES)
    spelled = (n if ":" in n else known("rule", [n], RULES)[0] for n in names)
    return {name: _named(name) for name in spelled}


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


def _named(name: str) -> Entry:
    if ":" in name:
        return _entry(f"--rules {name}", find_attribute(name, "--rules"))
    return RULES[name]


def _entry(name: str, rule: Any) -> Entry:
    made = _made(name, rule) if isinstance(rule, type) else rule
    if not isinstance(made, rules.Rule):
        raise LabError(f"{name} is no rule but {made!r}: subclass `apical.rules.Rule`")
    if jax.tree_util.all_leaves([made]):
        raise LabError(
            f"{name} is not registered: write `@apical.rules.rule` above `class "
            f"{type(made).__name__}`"
        )
    return Entry(lambda: made)


def _made(name: str, rule: type) -> Any:
    try:
        return rule()
    except Exception as error:
        raise LabError(
            f"{name} cannot be made by {rule.__name__}() ({error}): give every number "
            "a default, or name a rule that has been made"
        ) from error

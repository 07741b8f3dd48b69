"""The rows of a comparison: each name, and the rule it stands for."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NamedTuple

import jax
import optax

from apical import rules
from apical.lab._controls import UntrainedHiddenLayers
from apical.lab._errors import LabError, find_attribute, known, require_names
from apical.lab._names import Spelled, literal, spelled, spelled_or_bare, split_names
from apical.lab._rule_spec import Entry, descended, fields_of, given

# ---- The rules without a row in a comparison, which has not what they ask.


class Apart(NamedTuple):
    """A rule without a row.

    Attributes:
        entry: the rule.
        why: what a comparison does not have for it.
    """

    entry: Entry
    why: str


def _same(key: Any, *args: Any) -> Any:
    del key
    return args


def _clapp() -> rules.CLAPP:
    return rules.CLAPP(positive=_same)


_SPIKES = "for networks with stochastic nodes (`apical.bernoulli`)"
# Rules without a row, under the names that `apical rules` lists them by.
NOT_COMPARED: dict[str, Apart] = {
    "recirculation": Apart(
        Entry(rules.Recirculation), "for networks that reconstruct their input"
    ),
    "windowed-synthetic-gradients": Apart(
        Entry(rules.WindowedSyntheticGradients),
        "for sequences in windows (`carry=` says what goes from one to the next)",
    ),
    "clapp": Apart(
        Entry(_clapp), "asks what comes next to an example (`positive=`), and no label"
    ),
    "score-function": Apart(Entry(rules.ScoreFunction), _SPIKES),
    "straight-through": Apart(Entry(rules.StraightThrough), _SPIKES),
    "concrete": Apart(Entry(rules.Concrete), _SPIKES),
}


# ---- The rows of the rules that settle.

_GAIN = {"gain": (0.03, 1.0, "log")}
_NUDGE_AND_GAIN = {"nudge": (0.01, 1.0, "log"), **_GAIN}


def _equilibrium() -> rules.EquilibriumPropagation:
    # Rectifiers settle where feedback is weaker than what it answers.
    return rules.EquilibriumPropagation(gain=0.3)


def _relaxation() -> rules.ActivationRelaxation:
    # What is left of the start after 50 steps is below 1 % at each rate of the sweep.
    return rules.ActivationRelaxation(steps=50)


# Costs are those of 50 steps of settling on a perceptron.
ENERGY: dict[str, Entry] = {
    "equilibrium-propagation": Entry(_equilibrium, cost=15.0, space=_NUDGE_AND_GAIN),
    "contrastive-hebbian": Entry(rules.ContrastiveHebbian, cost=15.0, space=_GAIN),
    "coupled-learning": Entry(rules.CoupledLearning, cost=15.0, space=_NUDGE_AND_GAIN),
    "generec": Entry(rules.GeneRec, cost=15.0, space=_GAIN),
    "activation-relaxation": Entry(_relaxation, cost=10.0),
    "dual-propagation": Entry(rules.DualPropagation, cost=3.0),
}


# ---- The rows of a comparison for rules whose nodes have objectives of their own.


def _similarity() -> rules.LocalLosses:
    return rules.LocalLosses(objective="similarity")


def _both() -> rules.LocalLosses:
    return rules.LocalLosses(objective="both")


LOCAL_OBJECTIVES: dict[str, Entry] = {
    # One objective has nothing to balance.
    "local-losses": Entry(rules.LocalLosses, cost=1.3, space={}),
    "local-losses-similarity": Entry(_similarity, cost=1.3, space={}),
    "local-losses-both": Entry(_both, cost=1.5),
    "forward-forward": Entry(rules.ForwardForward, cost=2.5),
    "pepita": Entry(rules.PEPITA, cost=1.3),
}


# ---- The rows of predictive coding beside the three that are compared by default.


def _errors() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(
        8, prediction="free", inference=rules.ErrorRelaxation()
    )


def _zero_divergence() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", inference=rules.ZeroDivergence())


def _nudged() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", nudge=rules.Nudge(0.1, "centred"))


def _random_feedback() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", feedback=rules.RandomFeedback())


def _learned_feedback() -> rules.PredictiveCoding:
    feedback = rules.RandomFeedback(optax.sgd(0.1))
    return rules.PredictiveCoding(prediction="free", feedback=feedback)


def _learned_precision() -> rules.PredictiveCoding:
    # At 10 steps of inference outgrow two over the curvature before the last epoch.
    precision = rules.LearnedPrecision(highest=2.0)
    return rules.PredictiveCoding(prediction="free", precision=precision)


PREDICTIVE_CODING: dict[str, Entry] = {
    "predictive-coding-errors": Entry(_errors, cost=5.0, space={}),
    "predictive-coding-nudged": Entry(_nudged, cost=16.0),
    "coding-with-random-feedback": Entry(_random_feedback, cost=10.0),
    "coding-with-learned-feedback": Entry(_learned_feedback, cost=10.0),
    "coding-with-learned-precision": Entry(_learned_precision, cost=8.0),
    # Its steps are those of the levels: there is nothing to draw.
    "zero-divergence": Entry(_zero_divergence, cost=2.0, space={}),
    "incremental-predictive-coding": Entry(rules.IncrementalPredictiveCoding, cost=5.0),
}


# ---- The rows of scalar feedback.


def _activities() -> rules.ForwardGradient:
    return rules.ForwardGradient("activities")


SCALAR_FEEDBACK: dict[str, Entry] = {
    "weight-perturbation": Entry(rules.WeightPerturbation, cost=1.5),
    "node-perturbation": Entry(rules.NodePerturbation, cost=1.5),
    "forward-gradient": Entry(rules.ForwardGradient, cost=2.0),
    "forward-gradient-activities": Entry(_activities, cost=1.5),
    "evolution-strategy": Entry(rules.EvolutionStrategy, cost=40.0),
}


# ---- Rows of a comparison: targets that come down, and synthetic gradients.


def _plain() -> rules.TargetPropagation:
    return rules.TargetPropagation(first_target="nodes")


def _towards_backpropagation() -> rules.DifferenceTargetPropagation:
    return rules.DifferenceTargetPropagation(training=rules.DifferenceReconstruction())


def _fixed_weights() -> rules.DifferenceTargetPropagation:
    return rules.DifferenceTargetPropagation(training=None)


def _conditioned() -> rules.SyntheticGradients:
    return rules.SyntheticGradients(conditioned=True)


# Where inverses stay as they are drawn there is no rate of theirs to draw.
_STEP_ALONE = {"target_step": rules.TargetPropagation.search_space["target_step"]}
TARGETS: dict[str, Entry] = {
    "target-propagation": Entry(_plain, cost=2.0),
    "difference-target-propagation": Entry(rules.DifferenceTargetPropagation, cost=2.0),
    "difference-reconstruction": Entry(_towards_backpropagation, cost=2.5),
    "fixed-weight-target-propagation": Entry(
        _fixed_weights, cost=1.3, space=_STEP_ALONE
    ),
    "synthetic-gradients": Entry(rules.SyntheticGradients, cost=1.5),
    "synthetic-gradients-conditioned": Entry(_conditioned, cost=1.5),
}


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

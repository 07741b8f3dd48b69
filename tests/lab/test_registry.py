"""The rows of a comparison: each names a rule that can be trained."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.lab_files import sequences
from support.lab_runs import train_config

import apical
from apical import rules
from apical.lab import COMPARED, NOT_COMPARED, RULES, LabError
from apical.lab._registry import BASELINE, CONTROL, SQUARED, THROUGH_TIME
from apical.lab._rule_lookup import find_rules, with_baselines
from apical.lab._rule_spec import RuleSpec, descended
from apical.lab.models import MODELS
from apical.lab.models._registry import own_model
from apical.lab.training._loss import LOSSES
from apical.lab.training._setup import TrainConfig, TrainSetup, VmappedRuns
from apical.lab.training._train import NO_CALLBACKS, Trainer

START = TrainSetup(train_config())
# Rules through time have a model of their own.
ON_PERCEPTRONS = [name for name in RULES if name not in THROUGH_TIME]


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", ON_PERCEPTRONS)
def test_a_row_starts_on_a_perceptron(name):
    run = Trainer(START, RULES[name], VmappedRuns.with_seeds((0,), 0.1, {}))
    assert run.begin().learned


class Leaky(eqx.Module):
    """Leaky units, each with one state that decays by one constant."""

    incoming: jax.Array
    recurrent: jax.Array
    readout: jax.Array

    def __call__(self, x):
        def step(h, x):
            h = 0.8 * h + x @ self.incoming + jnp.tanh(h) @ self.recurrent
            return h, jnp.tanh(h) @ self.readout

        start = jnp.zeros((len(x), len(self.recurrent)))
        return jax.lax.scan(step, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)


def leaky(key, shape, classes):
    shapes = (shape[1], 6), (6, 6), (6, classes)
    keys = jax.random.split(key, 3)
    return Leaky(
        *(jax.random.normal(k, s) / 3 for k, s in zip(keys, shapes, strict=True))
    )


def on_sequences(name, model):
    config = TrainConfig(
        sequences(), "model", model, optax.adam, 0.01, epochs=1, batch_size=4
    )
    runs = VmappedRuns.with_seeds((0, 1), 0.01, {})
    return Trainer(TrainSetup(config), RULES[name], runs)


# The network has one output, of the mean of its units over time.
@pytest.mark.filterwarnings("ignore:The output has no axis of steps")
@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", THROUGH_TIME)
def test_a_row_through_time_learns_on_leaky_units(name):
    run = on_sequences(name, own_model(leaky, "sequences"))
    first = run.begin()
    trained, _ = run.epoch(first, NO_CALLBACKS)
    before, after = (p.learned[0].params.incoming for p in (first, trained))
    assert np.all(np.isfinite(after))
    assert np.all(np.any(before != after, axis=(1, 2)))


@pytest.mark.parametrize("name", ["ottt", "rflo"])
def test_rows_for_one_decay_refuse_a_reset_that_gradients_pass(name):
    with pytest.raises(ValueError, match="2 states"):
        on_sequences(name, MODELS["lif"]).begin()


@pytest.mark.parametrize("name", THROUGH_TIME)
def test_a_row_through_time_refuses_a_perceptron_with_the_reason(name):
    run = Trainer(START, RULES[name], VmappedRuns.with_seeds((0,), 0.1, {}))
    with pytest.raises(ValueError, match=r"no `lax\.scan` whose carry"):
        run.begin()


@pytest.mark.parametrize("name", RULES)
def test_a_row_says_what_it_costs_needs_and_draws(name):
    spec = RULES[name]
    assert spec.cost > 0
    assert set(spec.search_space) <= set(vars(spec.make()))
    assert spec.citation or name == CONTROL


def test_every_rule_has_a_row_or_a_reason_to_have_none():
    kinds = {k for k in vars(rules).values() if isinstance(k, type)}
    every = {k for k in kinds if issubclass(k, rules.Rule)} - {rules.Rule}
    rows = {type(spec.make()) for spec in RULES.values()}
    apart = {type(spec.make()) for spec, _ in NOT_COMPARED.values()}
    assert every == (rows | apart) & every
    assert not rows & apart
    assert all(why for _, why in NOT_COMPARED.values())


def test_all_stands_for_every_rule_the_control_last():
    assert list(find_rules("all")) == list(RULES)
    names = list(RULES)
    assert (names[0], names[-1]) == (BASELINE, CONTROL)
    assert set(COMPARED) < set(RULES)


def test_all_is_no_name_among_others():
    with pytest.raises(LabError, match="all"):
        find_rules("all,backpropagation")


# ----------------------------------------------------------------- the loss descended


class Row:
    """A row on a perceptron, before training."""

    def __init__(self, name):
        loss, self.rule = START.loss, RULES[name].make()
        (self.params, statistics) = jax.tree.map(lambda x: x[0], START.weights((0,)))
        self.args = (statistics, *START.batch)
        sgd = optax.sgd(0.1)
        self.step = apical.train_step(loss.training, self.rule, sgd, **loss.setting)
        self.state = self.step.init(jax.random.key(1), self.params, *self.args)
        self.circuit = self.step.learner.circuit(self.params, *self.args)
        learner, state = self.step.learner, self.state.rule
        self.grads = learner.credit(self.params, state, *self.args).grads
        measure = apical.measure.alignment(learner)
        self.found = measure(self.params, state, *self.args)

    def output(self, params):
        """What it predicts; forward-forward's is no output of the network."""
        if isinstance(self.rule, rules.ForwardForward):
            run = self.circuit.run(params, self.args, sites=("output",))
            return run.sites["output"]
        return self.step.predict(params, self.state, *self.args)

    def cosines_to(self, loss):
        """Those of the hidden layers, to the gradient of a loss through the output."""
        y = self.args[-1]

        def mean(params):
            return LOSSES[loss](self.output(params), y, START.loss.labels).mean()

        theirs = jax.grad(mean)(self.params)
        pairs = zip(self.grads.hidden, theirs.hidden, strict=True)
        return [cosine(mine, other) for mine, other in pairs]


def cosine(one, other):
    a, b = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (one, other)
    )
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / size if size else 0.0


@pytest.mark.grid(keep=12)
@pytest.mark.parametrize("name", ON_PERCEPTRONS)
def test_a_row_is_aligned_with_the_loss_that_it_descends(name):
    """By hand: through what it predicts, be that of a network that settles."""
    row = Row(name)
    expected = row.cosines_to(descended(row.rule, "cross-entropy"))
    layers = [each for each in row.found.layers.values() if each.hidden]
    assert [float(each.agreement.cosine) for each in layers] == pytest.approx(
        expected, abs=2e-3
    )
    assert float(row.found.hidden) == pytest.approx(np.mean(expected), abs=2e-3)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", ["contrastive-hebbian", "generec", "coupled-learning"])
def test_against_the_wrong_loss_rules_that_clamp_the_output_are_not_aligned(name):
    """The control of the test above: it can tell the losses apart."""
    row = Row(name)
    assert min(row.cosines_to("squared-error")) > 0.99
    assert max(row.cosines_to("cross-entropy")) < 0.95


def test_rules_that_descend_the_squared_error_bring_its_backpropagation_along():
    names = [BASELINE, "generec", "feedback-alignment"]
    found = with_baselines(find_rules(names), "cross-entropy")
    assert list(found) == [BASELINE, SQUARED, *names[1:]]
    assert list(with_baselines(found, "cross-entropy")) == list(found)
    assert list(with_baselines(find_rules(names), "squared-error")) == names
    for few in (names[1:], [BASELINE, "feedback-alignment"]):
        assert list(with_baselines(find_rules(few), "cross-entropy")) == few


def test_a_rule_of_ones_own_says_what_it_descends():
    @rules.rule
    class Own(rules.Rule):
        descends = "squared-error"

    own = find_rules({BASELINE: rules.Backpropagation(), "own": Own})
    assert list(with_baselines(own, "cross-entropy")) == [BASELINE, SQUARED, "own"]
    assert descended(RuleSpec(Own).make(), "cross-entropy") == "squared-error"


def test_backpropagation_of_the_squared_error_is_the_gradient_of_that():
    row = Row(SQUARED)
    assert row.cosines_to("squared-error") == pytest.approx([1, 1])
    assert max(row.cosines_to("cross-entropy")) < 0.95


# --------------------------------------------------------------------- the control


def test_the_control_is_tried_at_step_sizes_of_its_own():
    assert RULES[CONTROL].rate_scale == 10
    assert {RULES[name].rate_scale for name in RULES if name != CONTROL} == {1}

"""Perturbation and stochastic nodes: the laws, supported models, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import batch, layers, loss_fn
from support.check_on import check_on
from support.laws import problem
from support.zoo import MODELS

import apical
from apical.rules import (
    Concrete,
    EvolutionStrategy,
    ForwardGradient,
    NodePerturbation,
    ScoreFunction,
    StraightThrough,
    WeightPerturbation,
)
from apical.testing import check_rule

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 4, 4, 3), batch(3, 5, 3)
NO_NODES = ("signals", "pull")
# The readout takes the estimate, not the true gradient that `pull` adds.
BY_EXAMPLE = ("batch", "pull")


def spiking(params, x, y):
    h = apical.bernoulli(jax.nn.sigmoid(x @ params[0]["w"]), "hidden")
    h = jnp.tanh(h @ params[1]["w"] + params[1]["b"])
    return jnp.mean(jnp.sum((h @ params[2]["w"] - y) ** 2, axis=1))


def start(rule, params=PARAMS, data=DATA, loss_fn=loss_fn, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return learner, learner.init(KEY, params, *data)


# -------------------------------------------------------------------------------- laws


@pytest.mark.sweep
def test_node_perturbation_keeps_the_laws():
    check_rule(NodePerturbation(0.03), skip=BY_EXAMPLE)


AT_WEIGHTS = [WeightPerturbation(0.03), ForwardGradient(), EvolutionStrategy(0.03)]
AT_NODES = [ForwardGradient("activities"), NodePerturbation(0.03, at="drive")]
SPIKING = [StraightThrough(), Concrete(), ScoreFunction()]


def named(rules):
    return [type(rule).__name__ for rule in rules]


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("rule", AT_WEIGHTS, ids=named(AT_WEIGHTS))
def test_what_perturbs_weights_keeps_the_laws(rule):
    given = {"loss_fn": loss_fn, "params": PARAMS, "args": DATA}
    check_on(rule, skip=NO_NODES, **given)


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("rule", AT_NODES, ids=named(AT_NODES))
def test_what_perturbs_nodes_keeps_the_laws(rule):
    given = {"loss_fn": loss_fn, "params": PARAMS, "args": DATA}
    check_on(rule, skip=BY_EXAMPLE, **given)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("rule", SPIKING, ids=named(SPIKING))
def test_what_draws_spikes_keeps_the_laws(rule):
    """Signals too: pulled back through each probability they are the gradients."""
    given = {"loss_fn": spiking, "params": PARAMS, "args": DATA}
    check_on(rule, skip=("batch",), **given)


# ---------------------------------------------------------------- certain spikes

SURE = {
    "sigmoid": lambda z: jax.nn.sigmoid(z * jnp.array([1e4, 1e4, 1.0, 1.0])),
    "clip": lambda z: jnp.clip(z + 0.5, 0, 1),
}
DRAWN = [ScoreFunction(), Concrete(), Concrete(hard=True)]


@pytest.mark.parametrize("name", SURE)
@pytest.mark.parametrize("rule", DRAWN, ids=repr)
def test_a_certain_spike_has_gradient_zero_and_no_nan(rule, name):
    """Probabilities of 0 and 1, in rounding or exactly, beside others."""

    def loss_fn(params, x, y):
        h = apical.bernoulli(SURE[name](x @ params[0]["w"]), "hidden")
        return jnp.mean(jnp.sum((h @ params[2]["w"] - y) ** 2, axis=1))

    learner, state = start(rule, loss_fn=loss_fn)
    grads = jax.jit(learner)(PARAMS, state, *DATA).grads
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))
    p = np.asarray(SURE[name](DATA[0] @ PARAMS[0]["w"]))
    sure = (p == 0) | (p == 1)
    assert {0.0, 1.0} < set(p.ravel())
    signals = jax.jit(apical.value_and_grad(loss_fn, rule).signals)
    found = signals(PARAMS, state, *DATA)["hidden"]
    assert np.all((found.teaching == 0) == sure)


# --------------------------------------------------------------------------- the zoo

EVERYWHERE = [NodePerturbation(at="drive"), ForwardGradient("activities")]


@pytest.mark.parametrize("name", ["linen_conv", "rnn"])
def test_it_runs_on_convolutions_loops_and_residual_streams(name):
    found = problem(name)
    for rule in (*EVERYWHERE, WeightPerturbation()):
        learner, state = start(
            rule, found.params, found.args, found.loss_fn, **found.keywords
        )

        @jax.jit
        def grads(learned, learner=learner, state=state, found=found):
            params = found.circuit.merged(found.params, learned)
            return learner(params, state, *found.args).grads

        for path, g in found.by_path(grads(found.learned)).items():
            assert np.all(np.isfinite(g)), path
            assert np.any(g), path


REFUSED = {
    "examples": "activities of several examples meet in",
    "output": "no output|The output reaches",
    "numbers": "complex|hides them|written for reverse",
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_zoo_is_perturbed_or_refused_with_a_reason(name):
    found = problem(name)
    learner = apical.value_and_grad(found.loss_fn, NodePerturbation(), **found.keywords)

    def grads(learned):
        params = found.circuit.merged(found.params, learned)
        state = learner.init(KEY, params, *found.args)
        return learner(params, state, *found.args).grads

    try:
        shapes = jax.eval_shape(grads, found.learned)
    except ValueError as error:
        reasons = "|".join(REFUSED.values())
        with pytest.raises(ValueError, match=reasons):
            raise error from None
        assert name not in ("mlp", "rnn", "lstm", "transformer")
    else:
        assert jax.tree.structure(shapes) == jax.tree.structure(found.learned)


def test_on_random_directions_every_path_to_the_loss_is_counted_once():
    """With many exact directions the estimate is the gradient, on a residual stream."""
    found = problem("mlp_residual")
    true = jax.grad(lambda p: found.loss(p, found.args)[0])(found.learned)
    for rule in (
        ForwardGradient("activities", directions=3000),
        NodePerturbation(pairs=3000, at="drive"),
    ):
        learner, state = start(rule, found.params, found.args, found.loss_fn)
        grads = jax.jit(learner)(found.params, state, *found.args).grads
        for path, g in found.by_path(grads).items():
            t = found.by_path(true)[path]
            assert np.linalg.norm(g - t) < 0.35 * np.linalg.norm(t), path


# ---------------------------------------------------------------------------- refusals


def normalised(params, x, y):
    h = jnp.tanh(x @ params[0]["w"])
    h = (h - h.mean(axis=0)) / (h.std(axis=0) + 0.1)
    return jnp.mean((h @ params[1]["w"] @ params[2]["w"] - y) ** 2)


def normalised_spikes(params, x, y):
    h = apical.bernoulli(jax.nn.sigmoid(x @ params[0]["w"]))
    h = (h - h.mean(axis=0)) / (h.std(axis=0) + 0.1)
    return jnp.mean((h @ params[1]["w"] @ params[2]["w"] - y) ** 2)


@pytest.mark.parametrize(
    ("rule", "loss_fn"),
    [
        (NodePerturbation(), normalised),
        (ForwardGradient("activities"), normalised),
        (ScoreFunction(), normalised_spikes),
    ],
    ids=["perturbation", "forward gradient", "score"],
)
def test_batch_normalisation_is_refused_where_each_example_has_its_own_loss(
    rule, loss_fn
):
    message = r"activities of several examples meet in `sub` at \S*laws.py:\d+"
    with pytest.raises(ValueError, match=message):
        start(rule, loss_fn=loss_fn)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda: start(rule, loss_fn=loss_fn)[1])()


@pytest.mark.parametrize(
    ("rule", "loss_fn"),
    [(WeightPerturbation(), normalised), (StraightThrough(), normalised_spikes)],
    ids=["weights", "through"],
)
def test_batch_normalisation_is_fine_where_the_loss_is_one(rule, loss_fn):
    learner, state = start(rule, loss_fn=loss_fn)
    grads = jax.jit(learner)(PARAMS, state, *DATA).grads
    assert np.any(grads[0]["w"])


def test_a_derivative_for_reverse_mode_alone_is_refused_by_forward_mode():
    @jax.custom_vjp
    def double(h):
        return 2 * h

    double.defvjp(lambda h: (2 * h, None), lambda _, g: (2 * g,))

    def loss_fn(params, x, y):
        h = double(jnp.tanh(x @ params[0]["w"])) @ params[1]["w"] @ params[2]["w"]
        return jnp.mean((h - y) ** 2)

    for at in ("weights", "activities"):
        with pytest.raises(ValueError, match="written for reverse mode alone"):
            start(ForwardGradient(at), loss_fn=loss_fn)
    learner, state = start(NodePerturbation(), loss_fn=loss_fn)
    assert np.any(jax.jit(learner)(PARAMS, state, *DATA).grads[0]["w"])


def test_a_loss_that_no_mark_makes_stochastic_is_refused():
    for rule in SPIKING:
        with pytest.raises(ValueError, match=r"marks none: write `h = apical"):
            start(rule)


def test_a_value_that_is_not_a_probability_is_refused_with_its_line():
    def loss_fn(params, x, y):
        h = apical.bernoulli(jnp.tanh(x @ params[0]["w"]), "odd")
        return jnp.mean((h @ params[1]["w"] @ params[2]["w"] - y) ** 2)

    line = r"'odd' at \S*test_perturbation_laws.py:\d+.*is not a probability: .*between"
    with pytest.raises(ValueError, match=line):
        start(StraightThrough(), loss_fn=loss_fn)
    # Where it is not known when the state is made, it cannot pass in silence either.
    learner = apical.value_and_grad(loss_fn, StraightThrough())
    credit = jax.jit(learner)(PARAMS, KEY, *DATA)
    assert np.isnan(credit.info.loss)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.complex64])
def test_numbers_that_cannot_be_perturbed_are_refused(dtype):
    params = jax.tree.map(lambda w: w.astype(dtype), PARAMS)

    def loss_fn(params, x, y):
        h = jnp.tanh(x.astype(dtype) @ params[0]["w"]) @ params[1]["w"]
        return jnp.mean(jnp.abs(h @ params[2]["w"] - y) ** 2).astype(float)

    message = "hides them" if dtype == jnp.bfloat16 else "its imaginary part"
    for rule in (WeightPerturbation(), NodePerturbation(), EvolutionStrategy()):
        with pytest.raises(ValueError, match=message):
            start(rule, params, loss_fn=loss_fn)
    if dtype == jnp.complex64:
        with pytest.raises(ValueError, match=message):
            start(ForwardGradient(), params, loss_fn=loss_fn)
    else:
        start(ForwardGradient(), params, loss_fn=loss_fn)


def test_a_loss_for_one_batch_size_is_supported():
    def counted(params, x, y):
        return loss_fn(params, x + jnp.zeros((3, 1)), y) if len(x) == 3 else 1 / 0

    learner, state = start(NodePerturbation(), loss_fn=counted)
    other, _ = start(NodePerturbation())
    found, expected = (each(PARAMS, state, *DATA).grads for each in (learner, other))
    np.testing.assert_allclose(found[0]["w"], expected[0]["w"], rtol=1e-5)


MESSAGES = {
    "`noise` must be a finite number above 0": lambda: WeightPerturbation(0.0),
    "`pairs` must be a whole number above 0": lambda: NodePerturbation(pairs=0),
    "`at` must be one of": lambda: NodePerturbation(at="nodes"),
    "`at` must be one of .'weights'": lambda: ForwardGradient("nodes"),
    "`kind` must be one of": lambda: ForwardGradient(kind="uniform"),
    "`directions` must be a whole": lambda: ForwardGradient(directions=0.5),
    "`fitness` must be one of": lambda: EvolutionStrategy(fitness="ranks"),
    "`baseline` must be one of": lambda: ScoreFunction(baseline="mean"),
    "pass `draws=` of at least 2": lambda: ScoreFunction(baseline="draws"),
    "`draws` must be a whole": lambda: StraightThrough(draws=0),
    "`readout` must be the number": lambda: Concrete(readout=-1),
    "`temperature` must be a finite": lambda: Concrete(0.0),
    "`name` must be a text": lambda: apical.bernoulli(jnp.ones(1), 3),
    "cannot be called 'output'": lambda: apical.bernoulli(jnp.ones(1), "output"),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_invalid_settings_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        MESSAGES[message]()


def test_two_stochastic_nodes_of_one_name_are_refused():
    def loss_fn(params, x, y):
        h = apical.bernoulli(jax.nn.sigmoid(x @ params[0]["w"]), "h")
        h = apical.bernoulli(jax.nn.sigmoid(h @ params[1]["w"]), "h")
        return jnp.mean((h @ params[2]["w"] - y) ** 2)

    with pytest.raises(ValueError, match="Two activities are marked 'h'"):
        start(ScoreFunction(), loss_fn=loss_fn)


def test_two_nodes_of_one_drive_are_perturbed_once():
    """Noise counted twice there would make the signal twice as large."""

    def loss_fn(params, x, y):
        z = x @ params[0]["w"]
        one, two = jnp.tanh(z) @ params[1]["w"], jax.nn.relu(z) @ params[1]["w"]
        return jnp.mean(((one + two) @ params[2]["w"] - y) ** 2)

    rule = NodePerturbation(pairs=4000, at="drive")
    learner, state = start(rule, loss_fn=loss_fn)
    found = jax.jit(learner)(PARAMS, state, *DATA).grads[0]["w"]
    true = jax.grad(loss_fn)(PARAMS, *DATA)[0]["w"]
    assert np.linalg.norm(found - true) < 0.2 * np.linalg.norm(true)
    assert np.linalg.norm(found - 2 * true) > 0.5 * np.linalg.norm(true)

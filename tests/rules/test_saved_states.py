"""States saved with equinox, flax and orbax: results are bit-identical.

A state holds arrays alone if it is made from a raw key, `jax.random.PRNGKey(0)`, and
the same numbers as from `jax.random.key(0)`.
"""

import equinox as eqx
import flax.serialization
import jax
import numpy as np
import optax
import orbax.checkpoint
import pytest
from support.by_hand import assert_same
from support.every_rule import TRIALS

import apical
from apical import rules
from apical.rules._call_checks import explaining_misfit

RAW, TYPED = jax.random.PRNGKey(3), jax.random.key(3)


def by_equinox(state, folder):
    eqx.tree_serialise_leaves(folder / "state.eqx", state)
    like = jax.tree.map(np.zeros_like, state)
    return eqx.tree_deserialise_leaves(folder / "state.eqx", like)


def by_flax(state, folder):
    (folder / "state.msgpack").write_bytes(flax.serialization.to_bytes(state))
    like = jax.tree.map(np.zeros_like, state)
    return flax.serialization.from_bytes(like, (folder / "state.msgpack").read_bytes())


def by_orbax(state, folder):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", state)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / "state", state)


WAYS = {"equinox": by_equinox, "flax": by_flax, "orbax": by_orbax}


def arrays(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.grid(keep=9)
@pytest.mark.parametrize("name", TRIALS)
def test_training_goes_on_as_if_nothing_had_happened(name, tmp_path):
    trial = TRIALS[name]
    step = trial.step(optimizer=optax.adam(0.01))
    call = jax.jit(step)
    state = step.init(RAW, trial.params, *trial.args)
    params, state, _ = call(trial.params, state, *trial.args)
    expected = call(params, state, *trial.args)
    for way, save in WAYS.items():
        (tmp_path / way).mkdir()
        restored = save((params, state), tmp_path / way)
        assert jax.tree.structure(restored) == jax.tree.structure((params, state))
        found = call(*restored, *trial.args)
        assert_same(arrays(found), arrays(expected))


@pytest.mark.parametrize("name", TRIALS)
def test_raw_and_typed_keys_draw_the_same_numbers(name):
    trial = TRIALS[name]
    step = trial.step()
    raw, typed = (step.init(key, trial.params, *trial.args) for key in (RAW, TYPED))

    def numbers(leaf):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    assert_same(arrays(raw), arrays(jax.tree.map(numbers, typed)))


def test_a_learners_state_can_be_saved_too(tmp_path):
    trial = TRIALS["WeightMirror"]
    learner = apical.value_and_grad(trial.loss_of(), trial.rule)
    state = learner.init(RAW, trial.params, *trial.args)
    expected = learner(trial.params, state, *trial.args)
    for way, save in WAYS.items():
        (tmp_path / way).mkdir()
        found = learner(trial.params, save(state, tmp_path / way), *trial.args)
        assert_same(arrays(found), arrays(expected))


def test_a_state_of_a_raw_key_is_not_told_to_misfit():
    trial = TRIALS["WeightMirror"]
    learner = apical.value_and_grad(trial.loss_of(), trial.rule)
    for key in (RAW, TYPED):
        state = learner.init(key, trial.params, *trial.args)
        with (
            pytest.raises(ZeroDivisionError),
            explaining_misfit(
                state, lambda key: learner.init(key, trial.params, *trial.args)
            ),
        ):
            raise ZeroDivisionError
        other = state._replace(feedback=state.feedback[:1])
        with (
            pytest.raises(ValueError, match="does not fit"),
            explaining_misfit(
                other, lambda key: learner.init(key, trial.params, *trial.args)
            ),
        ):
            raise ZeroDivisionError


def test_a_window_of_a_sequence_can_be_saved_too(tmp_path):
    def loss_fn(params, h, x):
        h = jax.numpy.tanh(h @ params["u"] + x @ params["in"])
        return jax.numpy.mean(h**2), h

    params = {"u": 0.5 * np.eye(3, dtype="f"), "in": np.ones((2, 3), "f")}
    args = np.ones((4, 3), "f"), np.ones((4, 2), "f")
    rule = rules.WindowedSyntheticGradients()
    told = {"has_aux": True, "carry": (0, ())}
    step = apical.train_step(loss_fn, rule, optax.adam(0.1), **told)
    state = step.init(RAW, params, *args)
    params, state, _ = step(params, state, *args)
    expected = step(params, state, *args)
    for way, save in WAYS.items():
        (tmp_path / way).mkdir()
        found = step(*save((params, state), tmp_path / way), *args)
        assert_same(arrays(found), arrays(expected))

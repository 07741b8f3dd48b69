"""Programs that could deceive one of the two passes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree
from support.locality import (
    Copycat,
    DeadBranch,
    Flat,
    FlatCopycat,
    ForwardMode,
    ZeroLater,
    ZeroTimes,
    long_loss_fn,
    loss_fn,
    measured,
    recurrent_loss_fn,
    recurrent_weights,
    static,
    weights,
)

from apical import rules
from apical.rules.tools import AbstractInference

SMALL = (5, 7, 6, 3)


# ---------------------------------------------------------------- paths without effect


def test_a_weight_times_zero_is_excluded():
    update = static(ZeroTimes(), params=weights(*SMALL))
    assert not any(s.channel == "reverse" for v in update.of_grads for s in v.seen)


@pytest.mark.parametrize("rule", [ZeroLater(), DeadBranch()], ids=["0 * W", "branch"])
def test_a_path_without_effect_is_not_seen_and_not_excluded(rule):
    found = measured(rule, params=weights(*SMALL))
    assert found.rows[0].transport == "not seen"
    assert "weight transport" not in found.measured


# ---------------------------------------------------------------- the new state


@pytest.mark.parametrize("rule", [Copycat(), FlatCopycat()], ids=["tree", "vector"])
def test_a_copy_of_the_weights_in_the_new_state_is_caught(rule):
    found = measured(rule, params=weights(*SMALL))
    assert [row.copied for row in found.rows] == ["full"] * 3
    assert [row.transport for row in found.rows] == ["none"] * 3
    assert ("weight transport", False, True) in found.mismatches


def test_feedback_weights_in_one_vector_are_no_copy():
    update = static(Flat(), params=weights(*SMALL))
    assert not any(s.tree == "params" for v in update.of_state for s in v.raw)


# ---------------------------------------------------------------- one vector


@dataclass(frozen=True)
class FlatDescent(AbstractInference):
    """Gradient descent on the values of all nodes in one vector."""

    requires_prediction = "free"

    def settle(self, energy, budget):
        start, unravel = ravel_pytree(energy.start)

        def step(vector, _):
            slope = ravel_pytree(energy.slope(unravel(vector)))[0]
            return vector - 0.1 * slope, None

        end = jax.lax.scan(step, start, length=budget.steps)[0]
        return energy.settled(unravel(end), jnp.zeros(()), budget.steps)


def test_a_state_in_one_vector_makes_no_shortcut():
    rule = rules.PredictiveCoding(8, prediction="free", inference=FlatDescent())
    update = static(rule)
    fewest = [value.hops["label"][0] for value in update.of_grads]
    assert fewest == [3, 2, 1, 0]
    assert update.hops_per_round == 2


# ---------------------------------------------------------------- forward mode


def test_forward_mode_passes_a_second_signal_and_transports_nothing():
    found = measured(ForwardMode(), params=weights(*SMALL))
    assert [row.second for row in found.rows][:2] == ["yes", "yes"]
    assert [row.transport for row in found.rows] == ["none"] * 3


def test_reverse_mode_passes_no_second_signal():
    update = static(rules.Backpropagation(), params=weights(*SMALL))
    assert not any(s.channel == "second" for v in update.of_grads for s in v.seen)


# ---------------------------------------------------------------- other spellings


def channels(update):
    return [
        {(s.channel, s.source.leaf) for s in v.seen if s.channel != "stack"}
        for v in update.of_grads
    ]


def test_a_checkpointed_network_has_the_same_paths():
    params = weights(*SMALL)
    plain = static(rules.Backpropagation(), params=params)
    again = static(rules.Backpropagation(), jax.checkpoint(loss_fn), params)
    assert channels(again) == channels(plain)


def tied_loss_fn(params, x, y):
    h = jnp.tanh(jnp.tanh(x @ params["in"]) @ params["tied"])
    h = jnp.tanh(h @ params["tied"])
    return jnp.mean(0.5 * jnp.sum((h @ params["out"] - y) ** 2, axis=-1))


def tied_weights():
    sizes = {"in": (5, 6), "tied": (6, 6), "out": (6, 3)}
    return {name: weights(m, n)[0]["w"] for name, (m, n) in sizes.items()}


def test_a_tied_weight_is_transported_to_its_own_first_use():
    reverse = {"tied", "out"}
    update = static(rules.Backpropagation(), tied_loss_fn, tied_weights())
    names = dict(enumerate(update.leaves.names))
    seen = {
        names[s.source.leaf]
        for s in update.of_grads[update.leaves.names.index("tied")].seen
        if s.channel == "reverse"
    }
    assert seen == reverse


def test_a_tied_weight_with_feedback_weights_is_not_transported():
    update = static(rules.FeedbackAlignment(), tied_loss_fn, tied_weights())
    assert not any(s.channel == "reverse" for v in update.of_grads for s in v.seen)


def stacked_loss_fn(params, x, y):
    def layer(h, w):
        return jnp.tanh(h @ w), None

    h = jax.lax.scan(layer, jnp.tanh(x @ params["in"]), params["stack"])[0]
    return jnp.mean(0.5 * jnp.sum((h @ params["out"] - y) ** 2, axis=-1))


def stacked_weights():
    tied = tied_weights()
    stack = jnp.stack([tied["tied"], tied["tied"].T])
    return {"in": tied["in"], "stack": stack, "out": tied["out"]}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(rules.Backpropagation(), {"reverse"}), (rules.FeedbackAlignment(), set())],
    ids=["backpropagation", "feedback"],
)
def test_stacked_weights_are_followed_through_the_loop_over_layers(rule, expected):
    update = static(rule, stacked_loss_fn, stacked_weights())
    (value,) = [
        v
        for name, v in zip(update.leaves.names, update.of_grads, strict=True)
        if name == "in"
    ]
    assert {s.channel for s in value.seen} & {"reverse", "direct"} == expected


def gained_loss_fn(params, x, y):
    h = jnp.tanh(x @ params["in"])
    h = h / jnp.sqrt(1 + jnp.mean(h**2, axis=-1, keepdims=True)) * params["gain"]
    h = jnp.tanh(h @ params["mid"])
    return jnp.mean(0.5 * jnp.sum((h @ params["out"] - y) ** 2, axis=-1))


def test_the_gain_of_a_normalisation_is_told_apart_from_weights():
    sizes = {"in": (5, 6), "mid": (6, 7), "out": (7, 3)}
    params = {name: weights(m, n)[0]["w"] for name, (m, n) in sizes.items()}
    params["gain"] = jnp.linspace(0.5, 1.5, 6)
    found = measured(rules.FeedbackAlignment(), gained_loss_fn, params)
    rows = {row.name: row for row in found.rows}
    assert (rows["in"].transport, rows["in"].gains) == ("none", "full")
    assert found.mismatches == ()


def convolutional_loss_fn(params, x, y):
    h = x.reshape(len(x), 5, 1)
    for kernel in (params["first"], params["second"]):
        h = jnp.tanh(
            jax.lax.conv_general_dilated(
                h, kernel, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
            )
        )
    out = jnp.mean(h, axis=1) @ params["out"]
    return jnp.mean(0.5 * jnp.sum((out - y) ** 2, axis=-1))


def kernels():
    first, second, out = (weights(m, n)[0]["w"] for m, n in ((3, 6), (18, 7), (7, 3)))
    return {
        "first": first.reshape(3, 1, 6),
        "second": second.reshape(3, 6, 7),
        "out": out,
    }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(rules.Backpropagation(), "full"), (rules.FeedbackAlignment(), "none")],
    ids=["backpropagation", "feedback"],
)
def test_kernels_are_weights(rule, expected):
    found = measured(rule, convolutional_loss_fn, kernels())
    rows = {row.name: row for row in found.rows}
    assert rows["first"].transport == expected
    assert rows["first"].distance == 2
    assert found.mismatches == ()


def test_forward_mode_through_kernels_is_a_second_signal():
    update = static(rules.ForwardGradient(), convolutional_loss_fn, kernels())
    seen = {s.channel for v in update.of_grads for s in v.seen}
    assert "second" in seen
    assert not seen & {"reverse", "direct"}


# ---------------------------------------------------------------- time


def test_backpropagation_through_time_keeps_every_step():
    update = static(rules.Backpropagation(), recurrent_loss_fn, recurrent_weights())
    value = update.of_grads[update.leaves.names.index("back")]
    assert update.bytes_of(value, "stack") > 0
    assert {s.source.leaf for s in value.seen if s.channel == "reverse"} == {0, 2}
    assert "backward" in {s.channel for s in value.seen}


def kept(rule, steps):
    """The bytes that loops keep of every step, and that they carry."""
    update = static(rule, long_loss_fn(steps), recurrent_weights())
    value = update.of_grads[update.leaves.names.index("back")]
    return update.bytes_of(value, "stack"), update.bytes_of(value, "carry")


def test_what_backpropagation_keeps_grows_with_the_number_of_steps():
    short, long = (kept(rules.Backpropagation(), steps)[0] for steps in (40, 72))
    assert 40 * long == 72 * short


ONLINE = {"eprop": rules.EProp("random"), "snap": rules.SnAp()}


@pytest.mark.parametrize("rule", ONLINE.values(), ids=ONLINE)
def test_no_loop_of_an_online_rule_runs_backwards(rule):
    update = static(rule, recurrent_loss_fn, recurrent_weights())
    value = update.of_grads[update.leaves.names.index("back")]
    assert "backward" not in {s.channel for s in value.seen}


@pytest.mark.parametrize("rule", ONLINE.values(), ids=ONLINE)
def test_what_an_online_rule_keeps_does_not_grow(rule):
    # They work in chunks of 32 steps; 8 are left over from both lengths.
    assert kept(rule, 72) == kept(rule, 104)
    assert kept(rule, 72)[1] > 0

"""The claim about feedback alignment and depth: its networks and its judge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.feedback import fa_depth as claim
from apical.claims.networks import deep_convolutional_net
from apical.lab._registry import BASELINE, CONTROL


def lines(full=0.10, conv=0.10, full_control=0.80, conv_control=0.80, **how):
    """Gaps to backprop (0.85) that grow evenly with depth to these in the deepest."""
    found = []
    for kind, gap, control in (
        (claim.FULL, full, full_control),
        (claim.CONV, conv, conv_control),
    ):
        for place, depth in enumerate(claim.DEPTHS[kind]):
            part = place / (len(claim.DEPTHS[kind]) - 1)
            at = dict.fromkeys(claim.RULES, 0.85) | {CONTROL: control}
            at[claim.FEEDBACK] = 0.85 - gap * part
            for rule, accuracy in at.items():
                said = {"kind": kind, "depth": depth, "data": "made up"}
                found += run(rule, accuracy, **said, **how)
    return found


def uneven(found):
    """Convolutional networks whose seeds differ by points in the deepest."""
    for line in found:
        deepest = line["depth"] == claim.DEPTHS[claim.CONV][-1]
        if deepest and line["rule"] == claim.FEEDBACK:
            line["test_accuracy"] += 0.05 * (-1) ** line["seed"]
    return found


CASES = {
    "holds": [lines()],
    "holds within limits": [
        lines(full=0.03),
        lines(conv_control=0.6),
        lines(full_control=0.745, spread=4),
    ],
    "does not hold": [lines(full=0.0), lines(conv=-0.05), lines(full=0, conv=0)],
    "not settled": [uneven(lines(conv=0.03)), lines(seeds=4), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_the_depth_at_which_a_rule_is_no_better_than_the_control():
    found = lines(full=0.10, conv=0.02)
    assert claim.first_below_control(found, claim.FULL, claim.FEEDBACK) == 4
    assert claim.first_below_control(found, claim.CONV, claim.FEEDBACK) is None
    assert claim.first_below_control(found, claim.FULL, BASELINE) is None
    told = [each.measured(found) for each in claim.CLAIM.published[:2]]
    assert "-10.0 (16 hidden); not above the control from 4 hidden" in told[0]
    assert told[1].endswith("not above the control at no depth")


def test_lines_are_drawn():
    assert_drawn(claim, lines())


def test_every_depth_of_both_kinds_is_a_comparison():
    names = [task.name for task in claim.tasks("full")]
    assert names == [
        *(f"fully-connected-{depth}" for depth in (1, 2, 4, 8, 16)),
        *(f"convolutional-{depth}" for depth in (1, 2, 4, 6)),
    ]


@pytest.mark.parametrize("layers", [1, 3])
def test_a_deep_convolutional_net_is_its_convolutions(layers):
    net = deep_convolutional_net(layers, 4)(jax.random.key(0), (2, 8, 8), 3)
    x = jax.random.normal(jax.random.key(1), (5, 2, 8, 8))
    h = x
    for place, layer in enumerate(net.convolutions):
        stride = 2 if place < 2 else 1
        h = jax.lax.conv_general_dilated(
            h, layer.weight, (stride, stride), [(1, 1), (1, 1)]
        )
        h = jnp.tanh(h)
    assert h.shape == (5, 4, *(((4, 4),) if layers == 1 else ((2, 2),))[0])
    expected = h.reshape(5, -1) @ net.readout.weight.T
    assert np.allclose(net(x), expected, atol=1e-5)


def test_activities_keep_their_size_at_every_depth():
    net = deep_convolutional_net(6, 16)(jax.random.key(0), (3, 32, 32), 10)
    h, sizes = jax.random.normal(jax.random.key(1), (4, 3, 32, 32)), []
    for layer in net.convolutions:
        h = jnp.tanh(jax.vmap(layer)(h))
        sizes.append(float(jnp.std(h)))
    assert min(sizes) > 0.2 and sizes[-1] > 0.3 * sizes[0]


@pytest.mark.slow
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["depth"] for line in outcome.lines} == {1, 2}

"""e-prop against backpropagation through time: the network, the judge, the runs."""

import equinox as eqx
import jax
import numpy as np
import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.online import eprop_near_bptt as claim
from apical.claims.online._adaptive_net import adaptive_net
from apical.lab._registry import BASELINE, CONTROL


def lines(
    symmetric=0.9, random=0.88, backprop=0.9, control=0.6, still=0.8, worse="", **how
):
    """Lines with these accuracies; of the rule `worse`, 0.7 on one task."""
    found = []
    for part in claim.CHANCE:
        for rule, accuracy in {
            BASELINE: backprop,
            claim.SYMMETRIC: symmetric,
            claim.RANDOM: random,
            CONTROL: control,
        }.items():
            at = 0.7 if part == claim.RECALL and rule == worse else accuracy
            found += run(rule, at, model=claim.LEARNED, part=part, data=part, **how)
        found += run(BASELINE, still, model=claim.STILL, part=part, data=part, **how)
    return found


CASES = {
    "holds": [lines(), lines(symmetric=0.95, random=0.95)],
    "holds within limits": [lines(random=0.7), lines(worse=claim.RANDOM)],
    "does not hold": [lines(worse=claim.SYMMETRIC), lines(control=0.9)],
    "not settled": [lines(symmetric=0.85, spread=9), lines(seeds=4), []],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_a_seed_that_diverged_counts_as_chance():
    lost = lines()
    for line in lost:
        if line["rule"] == claim.SYMMETRIC and line["seed"] < 2:
            line |= {"status": "diverged", "test_accuracy": None}
    effects = claim.judge(lost).effects
    assert all(effect.seeds == 5 for effect in effects)
    assert claim.judge(lost).word == "not settled"


def test_frozen_recurrent_weights_are_shown_and_decide_nothing():
    assert claim.judge(lines(still=0.95)).word == "holds"
    shown = [f for f in claim.judge(lines()).findings if f.says is None]
    assert len(shown) == 9 and all(claim.STILL in f.effect.what for f in shown)


def test_lines_are_drawn():
    assert_drawn(claim, lines())


def test_every_rule_is_tuned_alike_on_every_task():
    names = [task.name for task in claim.CLAIM.tasks("full")]
    assert len(names) == 6 and claim.CLAIM.trials == 8


# ------------------------------------------------------------------------- the network


def small(frozen=()):
    net = adaptive_net(6, frozen)(jax.random.key(0), (20, 4), 3)
    net = eqx.tree_at(lambda n: n.incoming, net, 3 * net.incoming)
    net = eqx.tree_at(lambda n: n.recurrent, net, 15 * net.recurrent)
    x = np.random.default_rng(0).integers(0, 2, (5, 20, 4)).astype(np.float32)
    return net, x


def test_the_network_is_that_of_its_equations():
    net, x = small()
    w, u, v = (np.asarray(p, float) for p in (net.incoming, net.recurrent, net.readout))
    alpha, rho = np.exp(-1 / 20), np.exp(-1 / 20)  # 20 steps: the memory is alike
    beta = np.where(np.arange(6) < 3, 0, 20 * (1 - rho))
    p, a, s = (np.zeros((5, 6)) for _ in range(3))
    y, outputs, fired = np.zeros((5, 3)), [], 0
    for t in range(20):
        a = rho * a + s
        p = alpha * p + x[:, t] @ w + s @ u - s
        s = (p > 1 + beta * a).astype(float)
        y = alpha * y + (1 - alpha) * (s @ v)
        outputs.append(y)
        fired += s.mean() / 20
    assert 0.05 < fired < 0.6
    np.testing.assert_allclose(
        jax.jit(lambda net: net(x))(net),
        np.stack(outputs, axis=1),
        rtol=1e-4,
        atol=1e-5,
    )


def test_frozen_weights_have_no_gradient_and_others_keep_theirs():
    def grads(net, x):
        return jax.jit(jax.grad(lambda net: (net(x) ** 2).mean()))(net)

    free, still = grads(*small()), grads(*small(("recurrent",)))
    assert np.any(free.recurrent) and not np.any(still.recurrent)
    np.testing.assert_allclose(still.incoming, free.incoming, rtol=1e-5)
    np.testing.assert_allclose(still.readout, free.readout, rtol=1e-5)


@pytest.mark.slow
def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert {line["status"] for line in outcome.lines} == {"ok"}
    assert outcome.verdict.word == "not settled"

"""The claim about surrogate derivatives: its data, its network and its judge."""

import equinox as eqx
import jax
import numpy as np
import pytest
from support.claim_lines import run
from support.drawn_claims import assert_drawn

from apical import spiking
from apical.claims import CLAIMS, run_claim
from apical.claims.networks import recurrent_spiking_net
from apical.claims.spiking import surrogate_shape as claim
from apical.claims.spiking._random_manifolds import curve, random_manifolds
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.report.figures._style import figure_style

# ------------------------------------------------------------------------ the verdict


def lines(peak=(0.95, 0.951, 0.949), area=(0.3, 0.4, 0.3), control=0.5, **how):
    found = []
    for scale, accuracies in ((claim.PEAK, peak), (claim.AREAS, area)):
        for shape, accuracy in zip(claim.SHAPES, accuracies, strict=True):
            name = claim.model_name(shape, scale)
            found += run(BASELINE, accuracy, model=name, data="made up", **how)
    name = claim.model_name("fast sigmoid", claim.PEAK)
    return found + run(CONTROL, control, model=name, data="made up", **how)


def uneven(found):
    """One surrogate whose seeds differ by 6 points."""
    for line in found:
        if line["model"] == claim.model_name("triangle", claim.AREAS):
            line["test_accuracy"] += 0.03 * (-1) ** line["seed"]
    return found


CASES = {
    "holds": [lines(), lines(peak=(0.95, 0.94, 0.945))],
    "holds within limits": [
        lines(peak=(0.95, 0.90, 0.95)),  # a shape that learns worse
        lines(peak=(0.95, 0.93, 0.95)),  # one that may
    ],
    "does not hold": [
        lines(area=(0.3, 0.4, 0.96)),  # a scale that does not matter
        lines(peak=(0.95, 0.90, 0.95), area=(0.3, 0.4, 0.96)),
        lines(control=0.96),
    ],
    "not settled": [
        uneven(lines(area=(0.3, 0.4, 0.93))),
        lines(seeds=4),
        [],
    ],
}


@pytest.mark.parametrize("word", CASES)
def test_each_verdict_follows_from_lines_that_must_give_it(word):
    found = [claim.judge(each) for each in CASES[word]]
    assert [verdict.word for verdict in found] == [word] * len(found), [
        verdict.because for verdict in found
    ]


def test_a_seed_that_diverged_counts_as_chance():
    lost = lines(area=(0.95, 0.4, 0.3))
    for line in lost:
        if line["model"] == claim.model_name("fast sigmoid", claim.AREAS):
            line |= {"status": "diverged", "test_accuracy": None}
    assert claim.judge(lines(area=(0.95, 0.4, 0.3))).word == "does not hold"
    assert claim.judge(lost).word == "holds"


def test_lines_are_drawn():
    assert_drawn(claim, CASES["holds"][0])
    with figure_style():
        assert all(axes.containers for axes in claim.draw(lines()).axes)


# ---------------------------------------------------------------- the runs and the data


def test_every_surrogate_is_tuned_alike_and_beside_a_control():
    names = [task.name for task in CLAIMS["surrogate-shape"].tasks("full")]
    assert len(names) == 7 and names[-1] == "control"
    assert claim.CLAIM.trials == 16


@pytest.mark.parametrize("shape", claim.SHAPES)
def test_peaks_are_1_and_areas_are_matched(shape):
    u = np.linspace(-40, 40, 400_001)
    for spike, peak in ((claim.SHAPES[shape], 1), (claim.UNIT_AREA[shape], 5)):
        slope = np.asarray(jax.vmap(jax.grad(spike))(np.float32(u)), np.float64)
        assert slope.max() == pytest.approx(peak, rel=1e-5)
        area = slope.sum() * (u[1] - u[0])
        assert area == pytest.approx(peak * claim.AREA, rel=5e-3)  # its tails are cut


def test_a_curve_is_the_sum_over_its_frequencies():
    places = np.array([0.0, 0.3, 1.0])
    found = curve(np.random.default_rng(0), places, units=2, alpha=1.5)
    a, b, c = np.random.default_rng(0).random((3, 2, 100))

    def f(x, i):
        return sum(
            k**-1.5
            * a[i, k - 1]
            * np.sin(2 * np.pi * (k * b[i, k - 1] * x + c[i, k - 1]))
            for k in range(1, 101)
        )

    for i in range(2):
        grid = np.array([f(x, i) for x in np.linspace(0, 1, 1001)])
        by_hand = [(f(x, i) - grid.min()) / np.ptp(grid) for x in places]
        assert np.allclose(found[:, i], by_hand, atol=1e-9)


def test_smoother_curves_have_nearer_neighbours():
    def step(alpha):
        at = np.linspace(0, 1, 2001)
        return np.abs(np.diff(curve(np.random.default_rng(1), at, 5, alpha), axis=0))

    assert step(3.0).max() < 0.2 * step(1.0).max()


def test_every_input_unit_fires_once_within_the_window():
    how = {"units": 7, "steps": 30, "alpha": 2.0}
    data = random_manifolds(examples=50, seed=0, **how)
    assert data.train_x.shape == (400, 7) and data.test_x.shape == (100, 7)
    assert set(np.unique(data.train_x)) <= set(range(30))
    assert np.bincount(data.train_y).tolist() == [40] * 10
    assert np.bincount(data.test_y).tolist() == [10] * 10
    other = random_manifolds(examples=50, seed=1, **how)
    assert not np.array_equal(other.train_x, data.train_x)


def test_the_network_is_a_loop_over_its_steps():
    net = recurrent_spiking_net(spiking.boxcar(), 6, 15)(jax.random.key(0), (4,), 3)
    net = eqx.tree_at(lambda n: n.recurrent, net, 10 * net.recurrent)
    x = np.random.default_rng(0).integers(0, 15, (5, 4)).astype(np.float32)
    w, v, out = map(np.asarray, (net.encoding, net.recurrent, net.readout))
    synapse, membrane = np.exp(-1 / 5), np.exp(-1 / 10)
    i, u, s, fired = (np.zeros((5, 6)) for _ in range(4))
    filtered, read, highest = np.zeros((5, 3)), np.zeros((5, 3)), np.full((5, 3), -9e9)
    for t in range(15):
        i = synapse * i + (x == t) @ w + s @ v
        u = membrane * u * (1 - s) + i
        s = (u > 1).astype(float)
        fired += s
        filtered = synapse * filtered + s @ out
        read = membrane * read + filtered
        highest = np.maximum(highest, read)
    assert 0.3 < fired.mean() < 9
    assert np.allclose(net(x), highest, atol=1e-4)
    silent = eqx.tree_at(lambda n: n.recurrent, net, 0 * net.recurrent)
    assert not np.allclose(silent(x), highest, atol=1e-2)


@pytest.mark.slow
def test_the_smoke_form_runs(tmp_path):
    outcome = run_claim(CLAIMS["surrogate-shape"], "smoke", tmp_path)
    assert {line["status"] for line in outcome.lines} == {"ok"}
    assert outcome.verdict.word == "not settled"

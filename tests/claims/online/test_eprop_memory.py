"""The memory of e-prop: the compared programs, the judge, the smallest form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.online import eprop_memory as claim
from apical.claims.online._cells import CELLS, DECAY, KEPT, RATE, RecurrentNet, Size

SIZE = Size(channels=3, units=4, outputs=2, examples=2)


def drawn(name, length=9):
    net = RecurrentNet(CELLS[name])
    rng = np.random.default_rng(0)
    params = {
        n: jnp.asarray(3 * rng.normal(size=p.shape), jnp.float32)
        for n, p in net.params(jax.random.key(0), SIZE).items()
    }
    x = rng.normal(size=(length, 2, 3)).astype(np.float32)
    y = rng.normal(size=(length, 2, 2)).astype(np.float32)
    return net, params, x, y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(name, params, x, y):
    """The mean error of cells written out, in double precision."""
    w, u, v = (
        np.asarray(params[n], float) for n in ("incoming", "recurrent", "readout")
    )
    h, a, s = np.zeros((2, 4)), np.zeros((2, 4)), np.zeros((2, 4))
    errors = []
    for now, target in zip(x, y, strict=True):
        if name == "GRU":
            (ir, iz, inew), (hr, hz, hnew) = (
                np.split(each, 3, axis=1) for each in (now @ w, h @ u)
            )
            update = sigmoid(iz + hz)
            new = np.tanh(inew + sigmoid(ir + hr) * hnew)
            h = (1 - update) * new + update * h
            out = h
        else:
            h = DECAY * h + now @ w + s @ u - s
            a = KEPT * a + s
            strength = (1 - KEPT) / RATE if name == "ALIF" else 0
            s = out = (h > 1 + strength * a).astype(float)
        errors.append(0.5 * np.sum((out @ v - target) ** 2, axis=1))
    return np.mean(errors)


@pytest.mark.parametrize("name", CELLS)
def test_cells_and_their_error_are_those_written_out(name):
    net, params, x, y = drawn(name)
    found, aux = jax.jit(net.window)(params, net.start(SIZE), x, y)
    assert float(found) == pytest.approx(by_hand(name, params, x, y), rel=1e-5)
    parts = jax.jit(net.in_parts, static_argnums=4)(params, net.start(SIZE), x, y, 3)
    assert float(parts) == pytest.approx(float(found), rel=1e-6)
    halves = []
    state = net.start(SIZE)
    for part in (slice(0, 4), slice(4, 9)):
        error, aux = jax.jit(net.window)(params, state, x[part], y[part])
        state = aux["end"]
        halves.append(error * (part.stop - part.start) / 9)
    assert float(sum(halves)) == pytest.approx(float(found), rel=1e-5)


def lines(windows=0.0, whole=0.0, backward=1.0, distance=1e-7, seeds=5, apart=0.3):
    """Lines of programs whose memory grows with these exponents."""
    grown = {claim.WINDOWS: windows, claim.WHOLE: whole, claim.BPTT: backward}
    grown[claim.AGAIN] = 0.5
    return [
        {
            **{"model": model, "rule": rule, "seed": seed, "length": length},
            **{"bytes": 1000 * length**n, "cosine": 0.9},
            "distance": distance if "e-prop" in rule else apart,
            "distance_of_backpropagation": apart,
        }
        for model in CELLS
        for rule, n in grown.items()
        for seed in range(seeds)
        for length in claim.LENGTHS
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(whole=0.3), "holds within limits"),
        (lines(windows=0.3), "does not hold"),
        (lines(backward=0.4), "does not hold"),
        (lines(distance=1e-2), "does not hold"),
        (lines(apart=1e-6), "not settled"),
        (lines(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_growth_and_gradient(found, word):
    assert claim.judge(found).word == word


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_finds_the_gradients(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    for line in outcome.lines:
        by_traces = line["rule"] in (claim.WHOLE, claim.WINDOWS)
        assert (line["distance"] < 1e-5) == by_traces
        assert line["bytes"] > 0

"""Pairings: the change of each weight is the sum over spikes, taken one by one."""

import jax.numpy as jnp
import numpy as np
import pytest
from support.spiking_layers import change, ends, sum_over_synapses

from apical.rules import (
    STDP,
    AllPairs,
    NearestNeighbour,
    PresynapticTrace,
    Triplet,
)

pytestmark = pytest.mark.grid(keep=3)

A, B, TAU, TAU2 = 0.3, 0.2, 5.0, 8.0


def fade(gap, tau):
    return np.exp(-gap / tau)


def all_pairs(pre, post):
    total = 0.0
    for t in post:
        for s in pre:
            gap = t - s
            total += A * fade(gap, TAU) if gap >= 0 else -B * fade(-gap, TAU2)
    return total


def nearest(pre, post):
    total = 0.0
    for t in post:
        before = [s for s in pre if s <= t]
        total += A * fade(t - max(before), TAU) if before else 0.0
    for s in pre:
        before = [t for t in post if t < s]
        total -= B * fade(s - max(before), TAU2) if before else 0.0
    return total


def presynaptic(pre, post):
    return sum(A * (sum(fade(t - s, TAU) for s in pre if s <= t) - 0.4) for t in post)


X_TAU, Y_TAU = 12.0, 9.0
TRIPLET = (0.1, 0.4, 0.2, 0.3)  # a2+, a3+, a2-, a3-


def triplet(pre, post):
    total = 0.0
    for t in post:
        r1 = sum(fade(t - s, TAU) for s in pre if s <= t)
        o2 = sum(fade(t - u, Y_TAU) for u in post if u < t)
        total += r1 * (TRIPLET[0] + TRIPLET[1] * o2)
    for s in pre:
        o1 = sum(fade(s - t, TAU2) for t in post if t < s)
        r2 = sum(fade(s - u, X_TAU) for u in pre if u < s)
        total -= o1 * (TRIPLET[2] + TRIPLET[3] * r2)
    return total


def nearest_triplet(pre, post):
    def last(times, t, tau, own=False):
        before = [s for s in times if s < t or (own and s == t)]
        return fade(t - max(before), tau) if before else 0.0

    total = 0.0
    for t in post:
        o2 = last(post, t, Y_TAU)
        total += last(pre, t, TAU, own=True) * (TRIPLET[0] + TRIPLET[1] * o2)
    for s in pre:
        r2 = last(pre, s, X_TAU)
        total -= last(post, s, TAU2) * (TRIPLET[2] + TRIPLET[3] * r2)
    return total


FOUR = {"tau_plus": TAU, "tau_x": X_TAU, "tau_minus": TAU2, "tau_y": Y_TAU}
CASES = {
    "all": (AllPairs(A, B, TAU, TAU2), all_pairs),
    "nearest": (NearestNeighbour(A, B, TAU, TAU2), nearest),
    "presynaptic": (PresynapticTrace(A, TAU, 0.4), presynaptic),
    "triplet": (Triplet(*TRIPLET, **FOUR), triplet),
    "nearest triplet": (Triplet(*TRIPLET, **FOUR, nearest=True), nearest_triplet),
}


def off(found, by_hand, name):
    x, z = ends()[name]
    expected = sum_over_synapses(by_hand, x, z)
    return np.max(np.abs(found[name] - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_the_sum_over_spikes(case):
    pairing, by_hand = CASES[case]
    found, _ = change(STDP(pairing))
    assert max(off(found, by_hand, name) for name in ("first", "second")) < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_no_other_pairing_gives_this_change(case):
    """The control: each is far from the sums of all the others."""
    found, _ = change(STDP(CASES[case][0]))
    others = [by_hand for name, (_, by_hand) in CASES.items() if name != case]
    assert min(off(found, by_hand, "first") for by_hand in others) > 1e-2


def test_an_input_in_the_step_of_the_spike_counts_as_before_it():
    def depressing(pre, post):
        return sum(-B * fade(s - t, TAU2) for t in post for s in pre if t <= s)

    found, _ = change(STDP(AllPairs(0.0, B, TAU, TAU2)))
    assert off(found, depressing, "first") > 1e-2


def test_pairs_are_triplets_without_their_third_spike():
    pairs, _ = change(STDP(AllPairs(A, B, TAU, TAU2)))
    found, _ = change(STDP(Triplet(A, 0.0, B, 0.0, tau_plus=TAU, tau_minus=TAU2)))
    assert np.allclose(found["first"], pairs["first"], rtol=1e-6)


def test_a_time_constant_of_zero_reads_the_input_itself():
    found, _ = change(STDP(PresynapticTrace(1.0, 0.0)))
    x, z = ends()["first"]
    expected = np.einsum("tbi,tbj->ij", x, z) / x.shape[1]
    assert np.allclose(found["first"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: AllPairs(tau_plus=0.0), "tau_plus"),
        (lambda: NearestNeighbour(tau_minus=-1.0), "tau_minus"),
        (lambda: Triplet(tau_y=0.0), "tau_y"),
        (lambda: PresynapticTrace(tau=-1.0), "tau"),
    ],
)
def test_a_time_constant_must_be_positive(make, named):
    with pytest.raises(ValueError, match=f"`{named}` must be a finite number"):
        make()


def test_a_pairing_must_be_made():
    with pytest.raises(TypeError, match=r"call it, `AllPairs\(\)`"):
        STDP(AllPairs)


def test_only_some_pairings_need_spikes():
    assert NearestNeighbour.requires_spikes and not AllPairs.requires_spikes
    assert Triplet(nearest=True).requires_spikes and not Triplet().requires_spikes
    assert jnp.ndim(AllPairs().tau_plus) == 0

"""Effects of discarding the state of a call and reusing the one before.

A call is pure, so that nothing can tell a state used twice by mistake from a result
that is repeated on purpose. The guides say `state = credit.state`; here is why.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from support.docs import blocks

import apical
from apical import rules

ROOT = Path(__file__).parents[2]
KEYS = jax.random.split(jax.random.key(0), 4)
W = {
    "a": jax.random.normal(KEYS[0], (3, 5)) / 2,
    "b": jax.random.normal(KEYS[1], (5, 4)) / 2,
    "c": jax.random.normal(KEYS[2], (4, 2)) / 2,
}
X = jax.random.normal(KEYS[3], (16, 3))


def loss_fn(w, x):
    hidden = jnp.tanh(jnp.tanh(x @ w["a"]) @ w["b"])
    return jnp.mean((hidden @ w["c"] - jnp.sin(x[:, :2])) ** 2)


def grads_of_calls(rule, carry, calls=4):
    learner = apical.value_and_grad(loss_fn, rule)
    call, state = jax.jit(learner), learner.init(jax.random.key(1), W, X)
    found = []
    for _ in range(calls):
        credit = call(W, state, X)
        found.append(jnp.concatenate([g.ravel() for g in credit.grads.values()]))
        state = credit.state if carry else state
    return jnp.stack(found)


NOISY = [
    *(rules.NodePerturbation(), rules.WeightPerturbation(), rules.ForwardGradient()),
    *(rules.EvolutionStrategy(pairs=2), rules.SignConcordance(magnitude="batch")),
]


@pytest.mark.parametrize("rule", NOISY, ids=lambda rule: type(rule).__name__)
def test_a_reused_state_repeats_its_noise_and_a_carried_one_does_not(rule):
    reused, carried = (grads_of_calls(rule, carry) for carry in (False, True))
    assert (reused == reused[0]).all()
    assert (carried[0] == reused[0]).all()
    assert not any((later == carried[0]).all() for later in carried[1:])


def test_a_perturbation_that_is_never_drawn_anew_learns_along_one_line():
    carried = grads_of_calls(rules.WeightPerturbation(), carry=True)
    reused = grads_of_calls(rules.WeightPerturbation(), carry=False)
    assert jnp.linalg.matrix_rank(carried) == 4
    assert jnp.linalg.matrix_rank(reused) == 1


def to_backprop(state):
    learner = apical.value_and_grad(loss_fn, rules.WeightMirror())
    return float(apical.measure.alignment(learner)(W, state, X).leaves["b"].cosine)


def test_a_mirror_whose_state_is_thrown_away_never_learns():
    learner = apical.value_and_grad(loss_fn, rules.WeightMirror(0.1, 0.1))
    start = state = learner.init(jax.random.key(1), W, X)
    call = jax.jit(learner)
    for _ in range(60):
        call(W, start, X)
        state = call(W, state, X).state
    assert to_backprop(state) > 0.95 > to_backprop(start)


def test_a_training_step_hands_its_state_on():
    step = apical.train_step(loss_fn, rules.NodePerturbation(), optax.sgd(0.1))
    state = step.init(jax.random.key(1), W, X)
    _, later, credit = jax.jit(step)(W, state, X)
    before, after, said = map(
        jax.random.key_data, (state.rule, later.rule, credit.state)
    )
    assert (after == said).all() and (after != before).any()


def code_of(page):
    return "\n".join(blocks(page.read_text("utf-8")))


# What trains, or what measures a network that is not trained.
TRAIN_BY_THEMSELVES = tuple(
    f"measure.{each}(" for each in ("path_kernel", "recording_fit", "locality")
)
GUIDES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if (
        "apical.value_and_grad(" in code_of(page)
        and not any(each in code_of(page) for each in TRAIN_BY_THEMSELVES)
    )
    or "apical.train_step(" in code_of(page)
]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_a_guide_that_trains_says_where_the_state_goes(page):
    text = page.read_text("utf-8")
    assert re.search(r"state = credit\.state|state, credit = \w+\(", text)


def test_the_guides_are_found():
    assert {"README.md", "training-loop.md", "measure.md"} <= {p.name for p in GUIDES}

"""E-prop with reward: gradients at each step, traces of them, and errors of reward."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import distance
from support.reward_by_hand import (
    GAMMA,
    TIME,
    agent_loss,
    episode_loss,
    problem,
    reward_eprop,
    start,
)

import apical
from apical.optim import eligibility_trace
from apical.rules import EProp

RULES = {"symmetric": EProp(), "random": EProp("random")}
AGENTS = 3


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def weights_of(name):
    """The weights that learning signals pass back through; None for their own."""
    return problem()[1] if name == "random" else None


def with_feedback(state, name):
    """The state of a learner with these feedback weights."""
    if name == "symmetric":
        return state
    drawn = {**state.feedback.feedback, **weights_of(name)}
    return state._replace(feedback=state.feedback._replace(feedback=drawn))


@cache
def streamed(name):
    """A function of the discount: for each agent the sum of the updates of an episode.

    Each agent has a learner's state and a trace of its own; they share the parameters.
    """
    params, _, *series = problem(AGENTS)
    options = {"has_aux": True, "batch_axes": (0, 0, 0), "carry": (0, "state")}
    learner = apical.value_and_grad(agent_loss, RULES[name], **options)
    first = start(), jnp.zeros((1, 3)), jnp.zeros(1, int)
    begun = with_feedback(learner.init(jax.random.key(0), params, *first), name)

    def episode(discount, x, actions, rewards):
        optimizer = eligibility_trace(discount)

        def step(carry, given):
            state, net, kept, before, value, total = carry
            x, action, reward, first = given
            credit = learner(params, state, net, x[None], action[None])
            net, now = credit.aux["state"], credit.aux["state"]["value"][0, 0]
            # The error of the step before: it is 0 before the first one.
            error = jnp.where(first, 0.0, reward + GAMMA * now - value)
            updates, kept = optimizer.update(before, kept, td_error=error)
            total = jax.tree.map(jnp.add, total, updates)
            return (credit.state, net, kept, credit.grads, now, total), None

        zeros = jax.tree.map(jnp.zeros_like, params)
        carry = begun, start(), optimizer.init(params), zeros, 0.0, zeros
        given = x, actions, jnp.roll(rewards, 1), jnp.arange(TIME) == 0
        (_, _, kept, before, value, total), _ = jax.lax.scan(step, carry, given)
        error = rewards[-1] - value
        updates, kept = optimizer.update(before, kept, td_error=error, last=True)
        return jax.tree.map(jnp.add, total, updates), kept

    call = jax.jit(jax.vmap(episode, in_axes=(None, 0, 0, 0)))
    return lambda discount: call(discount, *map(jnp.asarray, series))


def by_hand(name, discount=GAMMA):
    params, _, *series = problem(AGENTS)
    each = [
        reward_eprop(params, *one, weights_of(name), discount)
        for one in zip(*series, strict=True)
    ]
    return jax.tree.map(lambda *g: np.stack(g), *each)


@pytest.mark.parametrize("name", RULES)
def test_a_stream_of_steps_is_reward_based_eprop_of_each_agent(name):
    found, kept = streamed(name)(GAMMA)
    assert distance(found, by_hand(name)) < 1e-10
    other = {"random": "symmetric", "symmetric": "random"}[name]
    assert distance(found["rec"], by_hand(other)["rec"]) > 0.1
    assert not any(map(np.any, jax.tree.leaves(kept)))  # after the last step


def test_without_a_trace_of_gradients_it_is_something_else():
    found, _ = streamed("symmetric")(0.0)
    assert distance(found, by_hand("symmetric", 0.0)) < 1e-10
    assert distance(found, by_hand("symmetric")) > 0.1


@pytest.mark.parametrize("name", RULES)
def test_the_loss_of_an_episode_gives_the_sum_of_its_steps(name):
    params, _, *series = problem(AGENTS)
    x, actions, rewards = (s[0][:, None] for s in series)
    options = {"batch_axes": 1, "reduction": "sum"}
    learner = apical.value_and_grad(episode_loss, RULES[name], **options)
    state = learner.init(jax.random.key(0), params, x, actions, rewards)
    state, call = with_feedback(state, name), jax.jit(learner)
    found = call(params, state, x, actions, rewards).grads
    steps = jax.tree.map(lambda g: g[0], streamed(name)(GAMMA)[0])
    assert distance(found, steps) < 1e-10
    unpaid = call(params, state, x, actions, 0 * rewards).grads
    assert distance(found, unpaid) > 0.1
    exact = jax.jit(jax.grad(episode_loss))(params, x, actions, rewards)
    assert distance(found["rec"], exact["rec"]) > 0.01
    assert distance(found["policy"], exact["policy"]) < 1e-10

"""E-prop with reward at each step: `python examples/delayed_reward.py`.

A cue (left or right), a delay, a signal to choose a side, and a reward some steps
later: 1 if the side was that of the cue, else -1. Agents with traces of their own share
one network. Without traces of gradients, nothing says which choice was rewarded.
"""

import jax
import jax.numpy as jnp
import optax

import apical

STEPS, CHOICE, REWARD = 10, 5, 8  # the cue comes at step 0
GAMMA, AGENTS, UNITS = 0.95, 32, 24
CARRY = {"has_aux": True, "batch_axes": (0, 0, None), "carry": (0, "h")}


def step_loss(w, h, x, key):
    """One step of one agent: an actor-critic loss without its advantage."""
    h = 0.8 * h + x @ w["in"] + jnp.tanh(h) @ w["recurrent"]
    logits, value = jnp.tanh(h) @ w["policy"], jnp.tanh(h) @ w["value"]
    side = jax.random.categorical(key, jax.lax.stop_gradient(logits))
    surprise = -jax.nn.log_softmax(logits)[jnp.arange(1), side]
    loss = jnp.mean(x[:, 2] * surprise - 0.5 * value)  # it chooses at the signal alone
    return loss, {"h": h, "side": side[0], "value": value[0]}


def advance(learner, traces, w, agent, x, key, reward):
    """One agent: what it does now, and its updates for the step before."""
    state, h, trace, grads, value = agent
    credit = learner(w, state, h, x[None], key)
    error = reward + GAMMA * credit.aux["value"] - value
    updates, trace = traces.update(grads, trace, td_error=error)
    agent = credit.state, credit.aux["h"], trace, credit.grads, credit.aux["value"]
    return agent, updates, credit.aux["side"]


def seen(t, cue):
    """What each agent sees at a step: a cue on the left, on the right, the signal."""
    signal = jnp.broadcast_to(t == CHOICE, cue.shape)
    return jnp.stack([(t == 0) & ~cue, (t == 0) & cue, signal], 1).astype(float)


def train(discount, episodes, seed=0):
    """Learn; return the mean reward of the last quarter of the episodes."""
    key, *keys = jax.random.split(jax.random.key(seed), 6)
    shapes = {"in": (3, UNITS), "recurrent": (UNITS, UNITS), "policy": (UNITS, 2)}
    shapes = {**shapes, "value": (UNITS,)}
    w = {
        name: jax.random.normal(k, shape) / shape[0] ** 0.5 / 2
        for k, (name, shape) in zip(keys[:4], shapes.items(), strict=True)
    }
    learner = apical.value_and_grad(step_loss, apical.rules.EProp("random"), **CARRY)
    traces, sgd = apical.optim.eligibility_trace(discount), optax.sgd(0.03)
    h, x = jnp.zeros((1, UNITS)), jnp.zeros((1, 3))
    begun = learner.init(keys[4], w, h, x, key), h, traces.init(w)
    begun = (*begun, jax.tree.map(jnp.zeros_like, w), jnp.zeros(()))

    def step(carry, given):
        w, agents, cue, reward = carry
        t, key = given
        keys = jax.random.split(key, AGENTS)
        paid = jnp.where(t - 1 == REWARD, reward, 0.0)

        def one(*each):
            return advance(learner, traces, w, *each)

        agents, updates, side = jax.vmap(one)(agents, seen(t, cue), keys, paid)
        updates = jax.tree.map(lambda u: u.mean(0), updates)
        w = optax.apply_updates(w, sgd.update(updates, sgd.init(w))[0])
        reward = jnp.where(t == CHOICE, jnp.where(side == cue, 1.0, -1.0), reward)
        return (w, agents, cue, reward), None

    @jax.jit
    def episode(w, key):
        chance, key = jax.random.split(key)
        cue = jax.random.bernoulli(chance, 0.5, (AGENTS,))
        agents = jax.tree.map(lambda a: jnp.stack([a] * AGENTS), begun)
        carry = w, agents, cue, jnp.zeros(AGENTS)
        given = jnp.arange(STEPS), jax.random.split(key, STEPS)
        (w, *_, reward), _ = jax.lax.scan(step, carry, given)
        return w, reward.mean()

    rewards = []
    for i in range(episodes):
        w, reward = episode(w, jax.random.fold_in(key, i))
        rewards.append(float(reward))
    return sum(rewards[-(episodes // 4) :]) / (episodes // 4)


def main(episodes=400):
    """Print the mean reward, with traces of gradients and without."""
    for name, discount in {"with traces": GAMMA, "with no traces": 0.0}.items():
        print(f"{name:14} mean reward {train(discount, episodes):5.2f}")


if __name__ == "__main__":
    main()

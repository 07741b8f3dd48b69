"""Reward-based e-prop of adaptive spiking neurons, as loops of numpy.

The agent is a recurrent net of ALIF neurons with leaky read-outs: logits of a policy,
and the value of the state. Bellec et al. 2020 (Methods, reward-based e-prop):

    dW_ji    = -sum over t [ delta_t F( L_j,t ebar_ji,t ) ]
    delta_t  = r_t + gamma V_{t+1} - V_t
    L_j,t    = -c_V B_j^V + sum over k [ B_jk^pi (pi_k,t - 1_{a_t = k}) ]
    ebar_t   = kappa ebar_{t-1} + e_t
    F(x)_t   = gamma F(x)_{t-1} + x_t

with the eligibility traces e of ALIF neurons, and V = 0 after the last step.
`agent_loss` is one step of the same agent as a loss function of JAX.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ALPHA, RHO, BETA, KAPPA, GAMMA, VALUE = 0.9, 0.95, 0.4, 0.8, 0.7, 0.5
INPUTS, HIDDEN, ACTIONS, TIME = 3, 5, 2, 12


@jax.custom_jvp
def spike(u):
    return (u > 0).astype(u.dtype)


@spike.defjvp
def _(primals, tangents):
    (u,), (moved,) = primals, tangents
    return spike(u), 0.3 * jnp.maximum(0, 1 - jnp.abs(u)) * moved


def problem(agents=1):
    """Parameters, feedback weights, and for each agent inputs, actions and rewards."""
    rng = np.random.default_rng(5)
    shapes = {"in": (INPUTS, HIDDEN), "rec": (HIDDEN, HIDDEN)}
    shapes |= {"policy": (HIDDEN, ACTIONS), "value": (HIDDEN, 1)}
    params = {n: rng.normal(size=s) for n, s in shapes.items()}
    params["in"] = np.abs(params["in"])  # so that all neurons spike
    feedback = {n: rng.normal(size=shapes[n]) for n in ("policy", "value")}
    x = rng.normal(size=(agents, TIME, INPUTS)) + 0.5
    actions = rng.integers(ACTIONS, size=(agents, TIME))
    rewards = rng.normal(size=(agents, TIME))
    return params, feedback, x, actions, rewards


def start():
    """The state before the first step: `v, a, z`, logits and value, of one example."""
    return {n: jnp.zeros((1, HIDDEN)) for n in "vaz"} | {
        "logits": jnp.zeros((1, ACTIONS)),
        "value": jnp.zeros((1, 1)),
    }


def advance(params, state, x):
    """The state after a step."""
    z = state["z"]
    a = RHO * state["a"] + z
    drive = x @ params["in"] + z @ params["rec"]
    v = ALPHA * state["v"] + drive - lax.stop_gradient(z)
    z = spike(v - 1 - BETA * a)
    logits = KAPPA * state["logits"] + z @ params["policy"]
    value = KAPPA * state["value"] + z @ params["value"]
    return {"v": v, "a": a, "z": z, "logits": logits, "value": value}


def actor_critic(state, action):
    """`-log pi(a) - c_V V`, of each example: the gradient without its advantage."""
    chosen = jax.nn.log_softmax(state["logits"])[jnp.arange(len(action)), action]
    return -chosen - VALUE * state["value"][:, 0]


def agent_loss(params, state, x, action):
    """One step: the loss, and what comes after."""
    state = advance(params, state, x)
    return jnp.mean(actor_critic(state, action)), {"state": state}


def episode_loss(params, x, actions, rewards):
    """A whole episode: `[time, example, ...]`; the advantage is held constant."""

    def step(state, given):
        x, action = given
        state = advance(params, state, x)
        return state, (actor_critic(state, action), state["value"][:, 0])

    _, (losses, values) = lax.scan(step, start(), (x, actions))

    def back(later, reward):
        total = reward + GAMMA * later
        return total, total

    _, returns = lax.scan(back, jnp.zeros(x.shape[1]), rewards, reverse=True)
    return jnp.sum(lax.stop_gradient(returns - values) * losses)


def reward_eprop(params, x, actions, rewards, feedback=None, discount=GAMMA):
    """The sum over an episode of `delta_t F(g)_t`, of one agent: a gradient.

    `feedback` are other weights B for the learning signals; `discount` is that of F.
    """
    back = params if feedback is None else feedback
    w_in, w_rec = params["in"], params["rec"]
    v, a, z = np.zeros(HIDDEN), np.zeros(HIDDEN), np.zeros(HIDDEN)
    logits, value = np.zeros(ACTIONS), 0.0
    zbar, slope = np.zeros(HIDDEN), np.zeros(HIDDEN)
    seen = [np.zeros((n, HIDDEN)) for n in (INPUTS, HIDDEN)]
    eps_v, eps_a, ebar = ([s.copy() for s in seen] for _ in range(3))
    gradients, values = [], []
    for t in range(TIME):
        before = [x[t], z]
        a = RHO * a + z
        v = ALPHA * v + x[t] @ w_in + z @ w_rec - z
        u = v - 1 - BETA * a
        z = (u > 0).astype(float)
        slope, old = 0.3 * np.maximum(0, 1 - np.abs(u)), slope
        for i, pre in enumerate(before):
            eps_a[i] = RHO * eps_a[i] + old * (eps_v[i] - BETA * eps_a[i])
            eps_v[i] = ALPHA * eps_v[i] + pre[:, None]
            ebar[i] = KAPPA * ebar[i] + slope * (eps_v[i] - BETA * eps_a[i])
        zbar = KAPPA * zbar + z
        logits = KAPPA * logits + z @ params["policy"]
        value = KAPPA * value + (z @ params["value"])[0]
        wrong = np.exp(logits) / np.exp(logits).sum()
        wrong = wrong - (np.arange(ACTIONS) == actions[t])
        signal = back["policy"] @ wrong - VALUE * back["value"][:, 0]
        gradients.append(
            {
                "in": signal * ebar[0],
                "rec": signal * ebar[1],
                "policy": np.outer(zbar, wrong),
                "value": -VALUE * zbar[:, None],
            }
        )
        values.append(value)
    values.append(0.0)
    total = {n: np.zeros_like(w) for n, w in params.items()}
    kept = {n: np.zeros_like(w) for n, w in params.items()}
    for t in range(TIME):
        delta = rewards[t] + GAMMA * values[t + 1] - values[t]
        for n in total:
            kept[n] = discount * kept[n] + gradients[t][n]
            total[n] = total[n] + delta * kept[n]
    return total

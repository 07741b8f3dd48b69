"""Inference in a Gaussian Bayes net: `python gaussian_bayes_net.py --rule NAME`.

    s -> u -> a -> x      each variable is a linear function of its parent, plus noise;
               a -> y     s, x and y are seen, u and a are hidden

The loss says how well x and y are predicted. Predictive coding adds the errors of u and
a, each weighted by its precision: its energy is then -log p(u, a, x, y | s), up to a
constant. At the equilibrium its values should be the posterior means, and its update
the gradient of the likelihood of x and y, but for the log-determinant.
"""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from common import run, say_if_unsettled, with_precision

import apical

SIZE = {"s": 3, "u": 3, "a": 5, "x": 4, "y": 2}
PARENT = {"u": "s", "a": "u", "x": "a", "y": "a"}
PRECISION = {"u": 2.0, "a": 4.0, "x": 2.0, "y": 3.0}


def loss_fn(params, s, x, y):
    """Half the squared errors of x and y times their precisions, mean of examples."""
    u = s @ params["u"]
    a = u @ params["a"]
    of_x = PRECISION["x"] * jnp.sum((x - a @ params["x"]) ** 2, -1)
    of_y = PRECISION["y"] * jnp.sum((y - a @ params["y"]) ** 2, -1)
    return jnp.mean(of_x + of_y) / 2


def net(key):
    """Weights from each variable's parent."""
    keys = zip(PARENT, jax.random.split(key, 4), strict=True)
    shape = {name: (SIZE[parent], SIZE[name]) for name, parent in PARENT.items()}
    return {name: jax.random.normal(k, shape[name]) / 2 for name, k in keys}


def sample(params, key, examples):
    """Draw s, x and y from the net."""
    keys = jax.random.split(key, 5)
    value = {"s": jax.random.normal(keys[0], (examples, SIZE["s"]))}
    for (name, parent), k in zip(PARENT.items(), keys[1:], strict=True):
        noise = jax.random.normal(k, (examples, SIZE[name])) / PRECISION[name] ** 0.5
        value[name] = value[parent] @ params[name] + noise
    return value["s"], value["x"], value["y"]


# ---- The truth, in two ways: exact conditioning, and messages along the net


def posterior_means(params, s, x, y):
    """E[u | s, x, y] and E[a | s, x, y], from the joint covariance of all variables."""
    w = {name: np.float64(leaf) for name, leaf in params.items()}
    eye = {name: np.eye(SIZE[name]) / PRECISION[name] for name in PARENT}
    both = np.hstack([w["x"], w["y"]])
    noise = np.block([[eye["x"], np.zeros((4, 2))], [np.zeros((2, 4)), eye["y"]]])
    of_u, of_a = eye["u"], w["a"].T @ eye["u"] @ w["a"] + eye["a"]
    seen = both.T @ of_a @ both + noise
    with_seen = {"u": of_u @ w["a"] @ both, "a": of_a @ both}
    u = s @ w["u"]
    surprise = np.hstack([x, y]) - u @ w["a"] @ both
    told = np.linalg.solve(seen, surprise.T).T
    return {"u": u + told @ with_seen["u"].T, "a": u @ w["a"] + told @ with_seen["a"].T}


def belief_propagation(params, s, x, y):
    """The same means by messages between neighbours: (precision, precision * mean)."""
    w = {name: np.float64(leaf) for name, leaf in params.items()}
    p, eye = PRECISION, {name: np.eye(SIZE[name]) for name in PARENT}
    # From the children up: x and y to a, then a to u.
    below = p["x"] * w["x"] @ w["x"].T + p["y"] * w["y"] @ w["y"].T
    told = p["x"] * x @ w["x"].T + p["y"] * y @ w["y"].T
    gain = p["a"] * np.linalg.inv(below + p["a"] * eye["a"]) @ w["a"].T
    to_u = (p["a"] * w["a"] @ (w["a"].T - gain), told @ gain)
    # From the parents down: s to u, then u to a.
    prior = (p["u"] * eye["u"], p["u"] * s @ w["u"])
    precision = np.linalg.inv(w["a"].T @ w["a"] / p["u"] + eye["a"] / p["a"])
    to_a = (precision, s @ w["u"] @ w["a"] @ precision)
    met = {"u": (prior, to_u), "a": (to_a, (below, told))}
    return {
        name: np.linalg.solve(one[0] + other[0], (one[1] + other[1]).T).T
        for name, (one, other) in met.items()
    }


def negative_log_likelihood(params, s, x, y, log_det=True):
    """-log p(x, y | s) up to a constant, the hidden variables summed over; mean."""
    both = jnp.hstack([params["x"], params["y"]])
    mean = s @ params["u"] @ params["a"] @ both
    of_a = params["a"].T @ params["a"] / PRECISION["u"]
    of_a += jnp.eye(SIZE["a"]) / PRECISION["a"]
    own = [jnp.full(SIZE[name], 1 / PRECISION[name]) for name in ("x", "y")]
    covariance = both.T @ of_a @ both + jnp.diag(jnp.hstack(own))
    missed = jnp.hstack([x, y]) - mean
    distance = jnp.sum(missed * jnp.linalg.solve(covariance, missed.T).T, -1)
    return jnp.mean(distance + log_det * jnp.linalg.slogdet(covariance)[1]) / 2


def cosine(one, other):
    """The cosine between two trees."""
    one, other = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (one, other))
    return float(one @ other / jnp.linalg.norm(one) / jnp.linalg.norm(other))


# The energy is quadratic: conjugate gradients need as many steps as there are unknowns.
EXACT = apical.rules.PredictiveCoding(
    steps=SIZE["u"] + SIZE["a"],
    prediction="free",
    inference=apical.rules.ConjugateGradients(),
)


def main(rule, examples=256):
    """Compare the values and the update of a rule with those of the exact net."""
    keys = jax.random.split(jax.random.key(0), 3)
    data = sample(net(keys[0]), keys[1], examples)
    params = net(keys[2])
    exact = posterior_means(params, *map(np.float64, data))
    messages = belief_propagation(params, *map(np.float64, data))

    hidden = {name: PRECISION[name] for name in "ua"}
    learner = apical.value_and_grad(loss_fn, with_precision(rule, hidden))
    state = learner.init(jax.random.key(1), params, *data)
    signals = jax.jit(learner.signals)(params, state, *data)
    found = {}
    for name, mean in exact.items():
        found[name] = float(np.abs(signals[name].value - mean).max())
        apart = np.abs(messages[name] - mean).max()
        print(f"{name}: to posterior means {found[name]:.1e}, messages {apart:.1e}")

    credit = jax.jit(learner.credit)(params, state, *data)
    say_if_unsettled(credit)
    kinds = {"likelihood": True, "likelihood, no log-determinant": False}
    for name, log_det in kinds.items():
        gradient = jax.grad(negative_log_likelihood)(params, *data, log_det)
        found[name] = cosine(credit.grads, gradient)
        print(f"update to the gradient of the {name}: cosine {found[name]:.6f}")
    return found


if __name__ == "__main__":
    run(main, default=EXACT)

"""Attention heads folded into the batch axis give the same updates.

Attention of most libraries works on `[batch * heads, steps, units]`. The same function
with heads on an axis of their own has the same nodes in another shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical import rules

N, T, H, D = 3, 4, 2, 6
KEYS = jax.random.split(jax.random.key(1), 8)
X, Y = jax.random.normal(KEYS[0], (N, T, D)), jax.random.normal(KEYS[1], (N, T, 5))
W = {
    name: jax.random.normal(key, shape) / 2
    for name, key, shape in [
        *(("q", KEYS[2], (D, D)), ("k", KEYS[3], (D, D)), ("v", KEYS[4], (D, D))),
        *(("out", KEYS[5], (D, D)), ("read", KEYS[6], (D, 5))),
    ]
}


def attention(folded, last=False):
    lead = (N * H,) if folded else (N, H)

    def loss_fn(w, x, y):
        def heads(z):
            z = z.reshape(len(x), T, H, D // H).transpose(0, 2, 1, 3)
            return z.reshape(*lead, T, D // H)

        q, k, v = (heads(x @ w[n]) for n in "qkv")
        scores = jax.nn.softmax(jnp.einsum("...td,...sd->...ts", q, k))
        mixed = jnp.einsum("...ts,...sd->...td", scores, v).reshape(len(x), H, T, -1)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(len(x), T, D)
        h = jnp.tanh(mixed @ w["out"])
        return jnp.mean((h @ w["read"] - y) ** 2)

    return loss_fn


RULES = {
    "direct": (rules.DirectFeedbackAlignment(), {}),
    "target": (rules.DirectRandomTargetProjection(), {"target": lambda x, y: y}),
    "local": (rules.LocalLosses(), {}),
    "both": (
        rules.LocalLosses(objective="both"),
        {"target": lambda x, y: y},
    ),
    "synthetic": (rules.SyntheticGradients(), {}),
    "labelled": (
        rules.SyntheticGradients(conditioned=True),
        {"target": lambda x, y: y},
    ),
    "node": (rules.NodePerturbation(), {}),
    "forward": (rules.ForwardGradient("activities"), {}),
    "coding": (
        rules.PredictiveCoding(
            prediction="free", inference=rules.ConjugateGradients(), steps=3
        ),
        {},
    ),
    "difference": (rules.DifferenceTargetPropagation(), {}),
    "pepita": (rules.PEPITA(), {"input_argnums": 0}),
}


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", RULES)
def test_folded_heads_learn_as_heads_on_an_axis_of_their_own(name):
    rule, keywords = RULES[name]
    found = []
    for folded in (True, False):
        learner = apical.value_and_grad(attention(folded), rule, **keywords)
        state = learner.init(KEYS[7], W, X, Y)
        for _ in range(4):  # critics learn from those above them
            credit = jax.jit(learner)(W, state, X, Y)
            state = credit.state
        found.append(credit.grads)
    for leaf in W:
        assert np.all(np.isfinite(found[0][leaf]))
        np.testing.assert_allclose(found[0][leaf], found[1][leaf], atol=2e-5)
    assert np.any(found[0]["v"])


def test_the_two_have_nodes_of_other_shapes():
    shapes = [
        {n.name: n.shape for n in apical.trace(attention(f))(W, X, Y).nodes}
        for f in (True, False)
    ]
    assert shapes[0] != shapes[1]
    assert shapes[0].keys() == shapes[1].keys()

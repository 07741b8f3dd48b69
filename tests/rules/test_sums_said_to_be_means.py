"""A sum declared as a mean is refused by rules with signals of fixed scale."""

import jax
import jax.numpy as jnp
import pytest
from support.by_hand import batch, layers, network

import apical
from apical.rules import (
    CLAPP,
    PEPITA,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    FeedbackAlignment,
    ForwardForward,
    LocalLosses,
    SyntheticGradients,
    TargetPropagation,
)

KEY = jax.random.key(0)
PARAMS = layers(5, 7, 6, 2)
DATA = batch(4, 5, 2)[0], jnp.eye(2)[jnp.array([0, 1, 1, 0])]


def later(key, x, y):
    return jnp.roll(x, 1, axis=0), y


def total(params, x, y):
    return jnp.sum((network(params, x) - y) ** 2)


RULES = {
    "CLAPP": CLAPP(positive=later),
    "PEPITA": PEPITA(),
    "difference target propagation": DifferenceTargetPropagation(),
    "target propagation": TargetPropagation(),
    "direct feedback of signs": DirectFeedbackAlignment(error="sign"),
    "direct random targets": DirectRandomTargetProjection(),
    "forward-forward": ForwardForward(),
    "local losses": LocalLosses(objective="similarity"),
    "synthetic gradients": SyntheticGradients(),
}


def start(rule, reduction):
    told = {"reduction": reduction, "target": lambda x, y: y, "input_argnums": 0}
    return apical.value_and_grad(total, rule, **told).init(KEY, PARAMS, *DATA)


@pytest.mark.parametrize("name", RULES)
def test_a_sum_that_is_said_to_be_a_mean_is_refused(name):
    with pytest.raises(ValueError, match=r"as a sum does\. Say `reduction='sum'`"):
        start(RULES[name], "mean")
    start(RULES[name], "sum")


def test_where_signals_have_the_size_of_the_loss_either_is_taken():
    for rule in (FeedbackAlignment(), DirectFeedbackAlignment()):
        for reduction in ("mean", "sum"):
            start(rule, reduction)

"""What the examples of this folder share: `--rule`, the digits, a layer, a loop."""

import argparse
from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from apical.lab import NOT_COMPARED, RULES

# Every rule of `apical rules`, also those that a comparison of classifiers cannot run.
SPECS = {**RULES, **{name: found.spec for name, found in NOT_COMPARED.items()}}


def rule_named(name):
    """The rule of this name, with the settings it has in `apical compare`."""
    if name not in SPECS:
        raise ValueError(f"no rule is named {name!r}: there are {', '.join(SPECS)}")
    return SPECS[name].make()


def run(main, default=None):
    """Call `main(rule)` with the rule that `--rule NAME` names.

    Args:
      main: what to call.
      default: the rule if none is named; by default backpropagation.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rule", metavar="NAME", help="a name of `apical rules`")
    name = parser.parse_args().rule
    try:
        rule = default if name is None else rule_named(name)
    except ValueError as error:
        parser.error(str(error))
    main(rule or rule_named("backpropagation"))


def digits():
    """1,437 images to train on and 360 to test on: [n, 64], in [0, 1]; their labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = np.float32(images[order] / 16), labels[order]
    return images[:1437], labels[:1437], images[1437:], labels[1437:]


def dense(key, rows, columns, scale=1.0):
    """A layer: random weights of variance scale^2 / rows, biases of 0."""
    weights = scale * jax.random.normal(key, (rows, columns)) / rows**0.5
    return {"w": weights, "b": jnp.zeros(columns)}


def affine(layer, x):
    """What a layer makes of x, without a nonlinearity."""
    return x @ layer["w"] + layer["b"]


def fit(step, key, params, draw, updates):
    """Train for a number of updates in one compiled loop.

    Args:
      step: made by `apical.train_step`.
      key: a random key.
      params: the parameters before.
      draw: draws the other arguments of the loss from a key.
      updates: how many.

    Returns:
      The parameters after, and the loss before each update.
    """
    keys = jax.random.split(key, updates + 1)
    state = step.init(keys[0], params, *draw(keys[0]))

    def update(carry, key):
        params, state, credit = step(*carry, *draw(key))
        return (params, state), credit.value

    def train(params, state, keys):
        return jax.lax.scan(update, (params, state), keys)

    (params, _), values = jax.jit(train)(params, state, keys[1:])
    return params, values


def with_precision(rule, precision):
    """The rule with the precision of each node, where it has any."""
    if "precision" not in {field.name for field in fields(rule)}:
        return rule
    return replace(rule, precision=precision)


def say_if_unsettled(credit):
    """Say so if a rule that infers values has not come to their equilibrium."""
    if not getattr(credit.info, "settled", True):
        print("the values have not settled: take more or smaller steps")


def rows_of(data, key, batch):
    """A batch of rows, drawn with replacement."""
    return jnp.asarray(data)[jax.random.randint(key, (batch,), 0, len(data))]

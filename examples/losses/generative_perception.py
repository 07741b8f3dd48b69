"""A prior set against evidence: `python generative_perception.py --rule NAME`.

A context predicts a belief (the prior m), and the belief predicts what is seen (the
evidence x). Predictive coding moves the belief b between them, down the energy

    E(b) = precision * (b - m)^2 / 2 + loss(x - b)

When does a surprise x - m override the prior? It depends on the form of the two terms:

    gaussian   the belief takes a fixed share of every surprise, whatever its size
    outliers   evidence with heavy tails: a large surprise is taken for noise
    change     a prior with heavy tails: a large surprise overrides the prior
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import run, say_if_unsettled, with_precision

import apical

SURPRISES = np.float32([0.5, 1, 2, 4, 8, 12, 16])


def cauchy(missed, precision):
    """-log of Cauchy's density, without its constant: its tails are heavy."""
    return jnp.log1p(precision * missed**2)


def gaussian(params, context, x):
    """The prior is as precise as the evidence."""
    belief = apical.node(context @ params["prior"], "belief")
    return jnp.mean((x - belief @ params["sight"]) ** 2) / 2


def outliers(params, context, x):
    """The evidence is mostly precise, and sometimes noise."""
    belief = apical.node(context @ params["prior"], "belief")
    return jnp.mean(cauchy(x - belief @ params["sight"], 4.0))


def change(params, context, x):
    """The prior is mostly precise, and sometimes void: its tails are in the loss."""
    belief = apical.node(context @ params["prior"], "belief")
    shift = belief - context @ params["prior"]  # once more: another activity
    missed = x - belief @ params["sight"]
    return jnp.mean(cauchy(shift, 4.0) + 0.25 * missed**2 / 2)


# Each with the precision of the prior in the energy of predictive coding; the last
# leaves the prior to the loss.
MODELS = {gaussian: 1.0, outliers: 0.25, change: 1e-6}


def perceive(loss_fn, rule, prior, x):
    """The beliefs that a rule ends with, and its update of the prior.

    Args:
      loss_fn: one of `MODELS`.
      rule: the rule.
      prior: the belief that the context predicts, a number.
      x: the evidence, one for each example, [n].
    """
    rule = with_precision(rule, {"belief": MODELS[loss_fn]})
    learner = apical.value_and_grad(loss_fn, rule)
    params = {"prior": jnp.full((1, 1), prior), "sight": jnp.ones((1, 1))}
    args = params, jnp.ones((len(x), 1)), jnp.asarray(x)[:, None]
    state = learner.init(jax.random.key(0), *args)
    belief = jax.jit(learner.signals)(params, state, *args[1:])["belief"].value
    credit = jax.jit(learner.credit)(params, state, *args[1:])
    say_if_unsettled(credit)
    return belief[:, 0], credit.grads["prior"][0, 0]


# ---- The truth: a closed form for the Gaussian case, and a walk downhill for each


def gaussian_belief(prior, x, prior_precision=1.0, precision=1.0):
    """The posterior mean: the mean of prior and evidence, weighted by precision."""
    total = prior_precision + precision
    return (prior_precision * prior + precision * x) / total


def downhill(loss_fn, prior, x, step=1e-3):
    """Where the energy of one example first stops to fall, from the prior towards x."""
    grid = prior + np.arange(0, x - prior, step)
    energy = {
        gaussian: (grid - prior) ** 2 / 2 + (x - grid) ** 2 / 2,
        outliers: (grid - prior) ** 2 / 8 + np.log1p(4 * (x - grid) ** 2),
        change: np.log1p(4 * (grid - prior) ** 2) + (x - grid) ** 2 / 8,
    }[loss_fn]
    rising = np.flatnonzero(np.diff(energy) > 0)
    return grid[rising[0]] if len(rising) else grid[-1]


def main(rule, prior=1.0):
    """Print the share of each surprise that the belief takes, and the exact share."""
    print("surprise  " + " ".join(f"{surprise:6g}" for surprise in SURPRISES))
    found = {}
    for loss_fn in MODELS:
        belief, _ = perceive(loss_fn, rule, prior, prior + SURPRISES)
        exact = [downhill(loss_fn, prior, prior + float(s)) for s in SURPRISES]
        name = loss_fn.__name__
        found[name] = [
            (b - prior) / SURPRISES for b in (np.array(belief), np.array(exact))
        ]
        for label, share in zip((name, "  exact"), found[name], strict=True):
            print(f"{label:9} " + " ".join(f"{each:6.2f}" for each in share))
    return found


if __name__ == "__main__":
    run(main, default=apical.rules.PredictiveCoding(steps=300, prediction="free"))

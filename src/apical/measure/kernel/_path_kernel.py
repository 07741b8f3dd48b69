"""What a trained network is: a sum over its training examples, along the path.

    y(x) - y0(x) = - integral of sum_i L'_i K(x, x_i) dt,
    K(x, x_i) = <dy(x)/dw, G_i> / L'_i

G_i is the rule's own update for example i alone, so this is an identity for any rule
whose update of a batch is the sum of those of its examples. For backpropagation K is
the tangent kernel <dy(x)/dw, dy(x_i)/dw>. Domingos 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...circuit import Circuit, is_concrete
from ...rules._base import TrainState
from ...rules._field_checks import check_positive, check_transformation, check_whole
from ...rules._learner import Learner
from ...rules._trace_cache import Exact
from ...rules._train_step import train_step
from .._learner_argument import takes_learner
from ._example_updates import select_examples, unit_learner
from ._optimizer_checks import require_linear_optimizer
from ._refusals import (
    has_units,
    is_linear,
    outputs_of_one,
    require_identity,
    require_single_examples,
    require_sum,
)
from ._result import PathKernel
from ._step import Step, Sums, zeros

_FEW_DIGITS = 1000  # times the rounding error of 1: |L'_i| below it is too small


@takes_learner
def path_kernel(
    learner: Learner,
    predict: Callable[[Any], Any],
    optimizer: optax.GradientTransformation,
    *,
    steps: int | None = None,
    batches: Any = None,
    kernel: bool = True,
    points: int = 4,
    chunk_size: int = 32,
    tolerance: float = 1e-3,
) -> Callable[..., PathKernel]:
    """Train, and attribute each prediction to the training examples.

        y(x) - y0(x) = sum_i change[x, i],
        change[x, i] = -integral of L'_i K(x, x_i) dt,   K = <dy(x)/dw, G_i> / L'_i

    G_i is the rule's update for example i alone. Each update is followed along its
    straight line by Gauss-Legendre quadrature, so the identity holds for steps of
    finite size. Updates of a random rule are compared under the same key, and the
    rule's state is that of each update.

    If the rule's update is linear in L'_i (feedback rules, predictive coding with fixed
    predictions), K is found from the updates for L'_i = 1 in one output and 0 in the
    others, and is a matrix `[outputs of x, outputs of x_i]`. Otherwise (free
    predictions, a penalty of weights in the loss) K is the ratio above, which exists
    for a network with one output. The contributions exist for every rule.

    Args:
      learner: what `apical.value_and_grad` returned, or `step.learner` of a training
        step: the loss function, its description and the rule.
      predict: a function of the parameters that returns the predictions to explain, an
        array of any shape: `lambda params: network(params, x_test)`.
      optimizer: an optax transformation whose update is linear in the gradient and has
        no memory: `optax.sgd(rate)`, with a schedule or a rate for each leaf.
      steps: the number of updates, each on all examples.
      batches: in place of `steps`: the examples of each update, as indices
        `[steps, batch size]`.
      kernel: whether to find K as well, which takes C + 1 times the work for a network
        with C outputs.
      points: the number of points of the quadrature along each update.
      chunk_size: the number of examples whose updates are held in memory at once.
      tolerance: the largest `error` of the result.

    Returns:
      A function of `(params, state, *args)` that trains from `params` and returns a
      `PathKernel`. `args` are all training examples; `state` is the rule's state, of
      `learner.init` or `state.rule` of a training step.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.
      ValueError: for an optimiser with memory or one that is not linear; if the updates
        of single examples do not sum to the update of their batch (batch normalisation,
        noise drawn for each example, a rule whose state has values of examples); with
        `kernel=True`, if K is not a matrix for this rule; if the contributions miss
        the change of the predictions by more than the tolerance.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> network = lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"]
      >>> loss_fn = lambda w, x, y: jnp.mean((network(w, x) - y) ** 2)
      >>> w = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}
      >>> x, y = jnp.array([[1.0, 0.5], [-1.0, 0.5]]), jnp.array([[1.0], [-1.0]])
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.FeedbackAlignment())
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> measure = apical.measure.path_kernel(
      ...     learner, lambda w: network(w, x)[:, 0], optax.sgd(0.1), steps=20
      ... )
      >>> found = measure(w, state, x, y)
      >>> found.change.shape, bool(found.error < 1e-4)
      ((2, 2), True)
      >>> pulled = found.initial + found.change.sum(axis=1)
      >>> bool(jnp.allclose(pulled, found.final, atol=1e-5))
      True

    Source: Domingos 2020, arXiv:2012.00152; for finite steps and any rule here.
    """
    if not callable(predict):
        raise TypeError(
            "`predict` must be a function of the parameters, as `lambda params: "
            f"network(params, x_test)`, not a {type(predict).__name__}."
        )
    check_transformation(optimizer, "optimizer")
    for name, value in (("points", points), ("chunk_size", chunk_size)):
        check_whole(value, name)
    check_positive(tolerance, "tolerance")
    if (steps is None) == (batches is None):
        raise ValueError(
            "Give the number of updates on all examples, `steps=`, or the examples of "
            "each update, `batches=` of shape [steps, batch size]; one of the two."
        )
    if steps is not None:
        check_whole(steps, "steps")
    trainer = train_step(learner, optimizer)
    single_outputs = cache(partial(unit_learner, learner))

    @partial(jax.jit, static_argnums=(0, 1, 2))
    def advance(outputs: int, units: Any, known: Exact, arrays: Any, *carried: Any):
        leaves, given = known.value
        learned, fixed, data = arrays
        params, args = leaves.combine(learned, fixed), given.combine([], data)
        step = Step(trainer, units, predict, outputs, points, chunk_size)
        moved, *rest = step(params, args, *carried)
        return leaves.split(moved)[0], *rest

    @partial(jax.jit, static_argnums=0)
    def predicted(known: Exact, learned: Any, fixed: Any) -> jax.Array:
        return _predictions(predict, known.value[0].combine(learned, fixed))

    def measure(params: Any, state: Any, *args: Any) -> PathKernel:
        if not is_concrete((params, state, args)):
            raise ValueError(
                "`apical.measure.path_kernel` trains and checks each update: call it "
                "outside of `jax.jit`, `jax.vmap` and `jax.grad`."
            )
        circuit = learner.circuit(params, *args)
        chosen = _chosen(circuit, steps, batches)
        learned, leaves = circuit.learned(params), circuit.leaves
        require_linear_optimizer(optimizer, learned)
        learner.rule.check_optimizer(circuit, params, optimizer)
        alone = select_examples(circuit, args, jnp.zeros(1, int))
        require_single_examples(learner, params, args, alone)
        outputs = outputs_of_one(learner, params, alone) if kernel else 0
        units = single_outputs(len(args)) if outputs else None
        if units and not has_units(units, learner, params, state, alone, outputs):
            units = None
        given = circuit.batch.examples.given
        here, fixed = leaves.split(params)
        known, data = Exact((leaves, given)), given.split(args)[1]
        initial = predicted(known, here, fixed)
        current = TrainState(state, optimizer.init(learned))
        sums = zeros(initial, circuit.batch_size, outputs, units is not None)
        losses, linear = [], units is not None
        for indices in chosen:
            arrays = here, fixed, data
            here, current, sums, report = advance(
                outputs, units, known, arrays, current, sums, indices
            )
            require_sum(learner, circuit, report)
            linear = linear and is_linear(learner, report, outputs)
            losses.append(report.loss)
        final = predicted(known, here, fixed)
        found = PathKernel(
            initial=initial,
            final=final,
            **_summaries(linear, sums, initial, final),
            loss=jnp.stack(losses),
            params=leaves.combine(here, fixed),
            state=current.rule,
        )
        require_identity(found, tolerance)
        return found

    return measure


def _chosen(circuit: Circuit, steps: int | None, batches: Any) -> np.ndarray:
    """The indices of the examples of each update, `[steps, batch size]`."""
    count = circuit.batch_size
    if steps is not None:
        return np.broadcast_to(np.arange(count), (steps, count))
    chosen = np.asarray(batches)
    whole = np.issubdtype(chosen.dtype, np.integer) and chosen.ndim == 2
    if not whole or not chosen.size:
        raise ValueError(
            "`batches` must be whole numbers of shape [steps, batch size], the indices "
            f"of the examples of each update, not {chosen.dtype}{list(chosen.shape)}."
        )
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(
            f"`batches` has indices from {chosen.min()} to {chosen.max()}, and there "
            f"are {count} examples, from 0 to {count - 1}."
        )
    return chosen


def _predictions(predict: Callable[[Any], Any], params: Any) -> jax.Array:
    """What `predict` returns; raise if that is not one array of real numbers."""
    found = predict(params)
    dtype = getattr(found, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        what = f"a {type(found).__name__}" if dtype is None else f"an array of {dtype}"
        raise ValueError(
            "`predict` must return one array of real numbers, whose change is to be "
            f"explained, not {what}. (Logits or probabilities, not classes.)"
        )
    return found


@partial(jax.jit, static_argnums=0)
def _summaries(
    linear: bool, sums: Sums, initial: jax.Array, final: jax.Array
) -> dict[str, Any]:
    """Contributions, kernel and error in the shapes of the result."""
    shape, (examples, outputs) = initial.shape, sums.slope.shape
    miss = sums.change.sum(axis=1).reshape(shape) - (final - initial)
    moved = jnp.linalg.norm(jnp.ravel(final - initial))
    error = jnp.linalg.norm(jnp.ravel(miss)) / jnp.where(moved == 0, 1, moved)
    found = {"change": sums.change.reshape(*shape, examples), "error": error}
    if not outputs:
        return {**found, "kernel": None, "loss_slope": None}
    last = () if outputs == 1 else (outputs,)
    slope = (sums.slope / sums.updates[:, None]).reshape(examples, *last)
    kernel = sums.kernel
    if not linear:
        bound = _FEW_DIGITS * jnp.finfo(sums.smallest.dtype).eps * sums.largest
        small = sums.smallest <= bound
        kernel = jnp.where(small[:, None], jnp.nan, sums.ratio)
    kernel = kernel.reshape(*shape, examples, *last)
    return {**found, "kernel": kernel, "loss_slope": slope}

"""Incremental predictive coding: values and parameters are updated in the same step.

    v <- v + inference(dE/dv),      theta <- theta + optimizer(dE/dtheta)

both at the same values and parameters; plain inference is -rate dE/dv. There are no
separate phases: parameters learn before the values have settled.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, require_reduction
from .._adaptive_step_size import as_optimizer
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._call_checks import default_steps, warn_of_unreached_nodes
from .._field_checks import check_positive, check_transformation, check_whole
from .._inner_optimizers import apply_optimizer
from .._iteration import repeat
from .._numerics import NodeArrays, root_of_ratio, squared_norm
from ._active_front import needed_steps
from ._energy import EnergyTerms, Settling, settling
from ._free_prediction import FreePredictionEnergy


class MovingValues(NamedTuple):
    """The values, and the optimiser state of inference."""

    values: NodeArrays
    inference: Any


class Progress(NamedTuple):
    """The state between two steps, with the norms of the first and last slope.

    `first` is negative before the first step.
    """

    moving: MovingValues
    learned: Any
    memory: Any
    grads: Any
    first: jax.Array
    last: jax.Array


@rule
class IncrementalPredictiveCoding(Rule):
    """Predictive coding whose parameters learn at every step of inference.

        v <- v + inference(dE/dv),      theta <- theta + optimizer(dE/dtheta)

    A call of `apical.train_step` takes `steps` steps, each with an update of the
    optimiser. In every call the values start at their feed-forward values, and the
    optimiser state of inference is initialised. With `streaming=True` both persist from
    call to call, while input and target may change; `step.reset` sets the values to the
    feed-forward ones.

    Args:
      steps: the number of steps per call. None: 8, or twice the longest path of nodes
        if that is more.
      rate: the step size of the values. None: adapted to the curvature of each example,
        which is measured from step to step; with `streaming`, where inputs change in
        between, 0.1. Not used with an optax transformation.
      streaming: whether values persist from call to call.
      inference: None for plain steps of the values, -rate dE/dv, or any
        `optax.GradientTransformation`.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.IncrementalPredictiveCoding(steps=5)
      >>> step = apical.train_step(loss_fn, rule, optax.sgd(0.01))
      >>> state = step.init(jax.random.key(0), w, x)
      >>> after, state, credit = step(w, state, x)
      >>> bool(loss_fn(after, x) < credit.value)
      True

    Source: Salvatori, Song, Yordanov, Millidge, Sha, Emde, Xu, Bogacz & Lukasiewicz
    2024, ICLR (incremental); a remark in Millidge, Tschantz & Buckley 2020 (streaming).
    """

    steps: int | None = static(default=None)
    rate: float | None = None
    streaming: bool = static(default=False)
    inference: optax.GradientTransformation | None = static(default=None)

    citation: ClassVar[str] = (
        "@inproceedings{salvatori2024stable, title={A Stable, Fast, and Fully "
        "Automatic Learning Algorithm for Predictive Coding Networks}, "
        "author={Salvatori, Tommaso and Song, Yuhang and Yordanov, Yordan and "
        "Millidge, Beren and Sha, Lei and Emde, Cornelius and Xu, Zhenghua and Bogacz, "
        "Rafal and Lukasiewicz, Thomas}, booktitle={ICLR}, year={2024}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "derivative of the nonlinearity",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {"rate": (0.01, 1.0, "log")}
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_whole(self.steps, "steps")
        check_positive(self.rate, "rate")
        if self.inference is not None:
            check_transformation(self.inference, "inference")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """With `streaming`, the feed-forward values; otherwise no state."""
        del key
        circuit.require_nodes(or_flat=True)
        _ = circuit.scale  # raises if the number of examples is unknown
        require_reduction(circuit, params, args)
        if self.steps is not None and not self.streaming:
            needed = needed_steps(circuit, True, self.steps)
            warn_of_unreached_nodes(type(self).__name__, self.steps, needed)
        return self.reset(circuit, params, (), args)

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The feed-forward values of a new batch."""
        del state
        if not self.streaming:
            return ()
        return self._start(circuit, _energy(circuit, params, args).start)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The mean of the gradients of all steps, with the parameters held."""
        learned, sums, steps = circuit.learned(params), _sums(), self._steps(circuit)
        _, total, credit = self.train(
            circuit, params, state, args, sums, sums.init(learned)
        )
        return credit._replace(grads=jax.tree.map(lambda g: g / steps, total))

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """`steps` updates of both values and parameters."""
        forward = circuit.run(params, args)
        learned = circuit.learned(params)

        def step(at: Progress) -> Progress:
            here = circuit.merged(params, at.learned)
            energy = _energy(circuit, here, args)
            found, slope, _ = energy.pulled(at.moving.values)
            grads = circuit.leaves.combine(found)
            moved, memory = apply_optimizer(
                optimizer, grads, at.memory, at.learned, forward.loss
            )
            norm = squared_norm(slope)
            return Progress(
                self._move(circuit, at.moving, slope),
                moved,
                memory,
                grads,
                jnp.where(at.first < 0, norm, at.first),
                norm,
            )

        unknown = jnp.full((), -1.0)  # no norm yet: the first step sets it
        begin = Progress(
            state if self.streaming else self._start(circuit, forward.sites),
            learned,
            optimizer_state,
            jax.tree.map(jnp.zeros_like, learned),
            unknown,
            unknown,
        )
        end = repeat(circuit, step, begin, self._steps(circuit))
        params = circuit.merged(params, end.learned)
        kept = end.moving if self.streaming else ()
        info = self._info(circuit, params, args, end)
        credit = Credit(forward.loss, forward.aux, end.grads, kept, info)
        return params, end.memory, credit

    def _info(
        self, circuit: Circuit, params: Any, args: Any, end: Progress
    ) -> Settling:
        _, _, errors = _energy(circuit, params, args).pulled(end.moving.values)
        residual = root_of_ratio(end.last, end.first)
        return settling(circuit, errors, residual, self._steps(circuit))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values and predictions after the steps, with the parameters held."""
        energy = _energy(circuit, params, args)

        def step(at: MovingValues) -> MovingValues:
            return self._move(circuit, at, energy.slope(at.values))

        begin = state if self.streaming else self._start(circuit, energy.start)
        values = repeat(circuit, step, begin, self._steps(circuit)).values
        _, _, errors = energy.pulled(values)
        return {
            n: Signal(values[n], values[n] - e, -e / circuit.scale)
            for n, e in errors.items()
        }

    def _steps(self, circuit: Circuit) -> int:
        return default_steps(circuit, 8) if self.steps is None else self.steps

    def _optimizer(self, circuit: Circuit) -> optax.GradientTransformation:
        rate = 0.1 if self.rate is None and self.streaming else self.rate
        return as_optimizer(self.inference, rate, circuit)

    def _start(self, circuit: Circuit, values: NodeArrays) -> MovingValues:
        return MovingValues(values, self._optimizer(circuit).init(values))

    def _move(
        self, circuit: Circuit, at: MovingValues, slope: NodeArrays
    ) -> MovingValues:
        optimizer = self._optimizer(circuit)
        updates, state = optimizer.update(slope, at.inference, at.values)
        values: Any = optax.apply_updates(at.values, updates)
        return MovingValues(values, state)


def _energy(circuit: Circuit, params: Any, args: Any) -> FreePredictionEnergy:
    return FreePredictionEnergy(EnergyTerms(circuit, params, args))


def _sums() -> optax.GradientTransformation:
    """A transformation with zero updates that sums the gradients in its state."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (
            jax.tree.map(jnp.zeros_like, updates),
            jax.tree.map(jnp.add, state, updates),
        ),
    )

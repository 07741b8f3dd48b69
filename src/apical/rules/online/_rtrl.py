"""Real-time recurrent learning: forward-mode derivatives of a whole network.

    J_t = (ds_t/ds_{t-1}) J_{t-1} + ds_t/dW,     dL/dW = sum over t [ (dL_t/ds_t) J_t ]

J_t holds the derivative of every state with respect to every parameter. Williams &
Zipser 1989, equations 5 to 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ...circuit import Circuit, at_path, beside, carry_of, gathered
from .._base import Credit, Rule, SearchSpace, rule, static
from .._field_checks import check_positive, check_whole

_NAME = "RTRL"


class InfluenceState(NamedTuple):
    """The state of real-time recurrent learning.

    Attributes:
      influence: the derivative of each array of the carry with respect to every
        parameter, `[parameters, ...]`; None for integers, and without `carry=`. A
        complex parameter counts as two, its real and its imaginary part.
    """

    influence: Any


@rule
class RTRL(Rule):
    """The exact gradient, forwards in time: one derivative for each parameter.

        J_t = (ds_t/ds_{t-1}) J_{t-1} + ds_t/dW,     dL/dW = sum over t (dL_t/ds_t) J_t

    It is forward-mode differentiation of the loss function, and so equals
    backpropagation through time on every model: whatever units share, in layers, loops
    in series, nested or reversed. Time is `parameters` times that of the forward pass;
    memory does not grow with the length of the sequence if the loss is summed in the
    loop. It is a reference for small networks.

    With `carry=`, calls are windows of one sequence: the influence of all parameters on
    the carry continues in the state, of `parameters x states` numbers, and
    `learner.reset` begins another sequence.

    State: `InfluenceState(influence)`.

    Args:
      columns: the number of parameters whose derivatives are computed at once.
      memory_limit: the largest number of bytes of the influence.

    Raises:
      ValueError: in `init`, if the influence needs more than `memory_limit`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     step = lambda h, x: 2 * (jnp.tanh(h @ w + x),)
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((2, 3)), x)[1] ** 2)
      >>> w, x = jnp.eye(3) / 2, jnp.ones((5, 2, 3))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.RTRL(), batch_axes=1)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(jnp.allclose(credit.grads, jax.grad(loss_fn)(w, x), atol=1e-6))
      True

    Source: Williams & Zipser 1989, Neural Computation 1(2).
    """

    columns: int = static(default=64)
    memory_limit: float = static(default=4e9)

    citation: ClassVar[str] = (
        "@article{williams1989learning, title={A learning algorithm for continually "
        "running fully recurrent neural networks}, author={Williams, Ronald J. and "
        "Zipser, David}, journal={Neural Computation}, volume={1}, number={2}, "
        "year={1989}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "global error",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {}
    through_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole(self.columns, "columns")
        check_positive(self.memory_limit, "memory_limit")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Zero influence, if the sequence continues over calls."""
        del key
        if not circuit.linear_derivatives:
            raise ValueError(
                f"{_NAME} differentiates forward, and the model has a derivative that "
                "is written for reverse mode alone (`jax.custom_vjp`). Write it by "
                "`jax.custom_jvp`, as those of `apical.spiking` are, or use `UORO` or "
                "`EProp`."
            )
        return self._no_influence(circuit, params, args)

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """No influence: another sequence begins."""
        del state
        return self._no_influence(circuit, params, args)

    def _no_influence(self, circuit: Circuit, params: Any, args: Any) -> InfluenceState:
        if circuit.spec.carry is None:
            return InfluenceState(None)
        position, path = carry_of(circuit.spec, args, _NAME)
        end = jax.eval_shape(lambda: circuit.run(params, args, sites=()).aux)
        at_path(end, path)
        count = _flat(circuit.leaves.split(params)[0])[0].size
        shapes = jax.eval_shape(lambda: args[position])
        leaves = [x for x in jax.tree.leaves(shapes) if _inexact(x)]
        needed = sum(count * math.prod(x.shape) * x.dtype.itemsize for x in leaves)
        if needed > self.memory_limit:
            raise ValueError(
                f"The influence of {count:,} parameters on the carry would take "
                f"{needed / 1e9:.2g} GB, and `memory_limit` is "
                f"{self.memory_limit / 1e9:.2g} GB. Use `EProp`, `SnAp` or `UORO`."
            )
        return InfluenceState(
            jax.tree.map(
                lambda x: (
                    jnp.zeros((count, *x.shape), x.dtype) if _inexact(x) else None
                ),
                shapes,
            )
        )

    def column_view(self, circuit: Circuit, i: jax.Array) -> Circuit:
        """The circuit through which the influence of parameter `i` is followed."""
        del i
        return circuit

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward-mode derivative for each parameter."""
        learned, fixed = circuit.leaves.split(params)
        position, path = None, None
        if circuit.spec.carry is not None:
            position, path = carry_of(circuit.spec, args, _NAME)

        def forward(circuit: Circuit, learned: Any, start: Any) -> Any:
            given = args
            if position is not None:
                given = (*args[:position], start, *args[position + 1 :])
            run = circuit.run(circuit.leaves.combine(learned, fixed), given, sites=())
            end = None if path is None else at_path(run.aux, path)
            return (run.loss, end), run.aux

        start = None if position is None else args[position]
        (value, _), aux = forward(circuit, learned, start)

        def by_column(i: jax.Array, learned: Any, start: Any) -> Any:
            return forward(self.column_view(circuit, i), learned, start)

        grads, influence = self._each(by_column, learned, start, state.influence)
        grads = circuit.leaves.combine(grads)
        if position is not None:
            influence = jax.tree.map(
                lambda x, like: x if _inexact(like) else None, influence, start
            )
        return Credit(value, aux, grads, InfluenceState(influence), ())

    def _each(
        self, forward: Callable[..., Any], learned: Any, start: Any, influence: Any
    ) -> Any:
        """The derivative of the loss and of the carry by each parameter."""
        flat, divided = _flat(learned)

        def column(given: Any) -> Any:
            i, moved = given
            one = (jnp.arange(flat.size) == i).astype(flat.dtype)
            leaves, treedef = jax.tree.flatten(start)
            given = treedef.flatten_up_to(moved)
            tangent = treedef.unflatten(map(_tangent, leaves, given))
            (loss, end), _ = _jvp(
                lambda flat, start: forward(i, divided(flat), start),
                (flat, start),
                (one, tangent),
            )
            return loss, end

        batch = min(self.columns, flat.size)
        columns = jnp.arange(flat.size), influence
        slopes, influence = jax.lax.map(column, columns, batch_size=batch)
        # JAX's gradient by a complex number is d/dRe - i d/dIm.
        grads = [jnp.conj(x) for x in divided(slopes.astype(flat.dtype))]
        return grads, influence


def _jvp(forward: Any, primals: Any, tangents: Any) -> Any:
    _, moved, aux = jax.jvp(forward, primals, tangents, has_aux=True)
    loss, end = moved
    # Integers of the carry have no derivative.
    end = jax.tree.map(
        lambda x: jnp.zeros(()) if x.dtype == jax.dtypes.float0 else x, end
    )
    return (loss, end), aux


def _tangent(start: Any, moved: Any) -> Any:
    if moved is None:
        return jnp.zeros(jnp.shape(start), jax.dtypes.float0)
    return moved


def _inexact(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _flat(leaves: list[jax.Array]) -> tuple[jax.Array, Callable[..., Any]]:
    """Some leaves as one array of real numbers, and the way back."""
    parts = [[x.real, x.imag] if jnp.iscomplexobj(x) else [x] for x in leaves]
    flat, divided = ravel_pytree(jax.tree.map(gathered, parts))

    def whole(flat: jax.Array) -> list[jax.Array]:
        found = (p[0] if len(p) == 1 else jax.lax.complex(*p) for p in divided(flat))
        return [beside(x, leaf) for x, leaf in zip(found, leaves, strict=True)]

    return flat, whole

"""Predictive coding: values relax until every node agrees with its neighbours.

For one example, with values v_n, predictions p_n and the loss L,

    E(v) = sum_n |v_n - p_n|^2 / 2 + L,         e_n = v_n - p_n

values descend E, then parameters do: d theta = -sum_n <e_n, dp_n/d theta> + dL/d theta.
Whittington & Bogacz 2017 (free predictions); Millidge, Tschantz & Buckley 2020 and
Rosenbaum 2022 (fixed: p_n and its derivatives stay at their feed-forward values).
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..circuit import Circuit
from ._inference import Sweep, as_optimizer, repeat
from ._rule import (
    Credit,
    Rule,
    SearchSpace,
    Signal,
    check_choice,
    rule,
    squared_norm,
    static,
)

# Below this fraction of the first gradient the values count as settled.
_SETTLED = 1e-3


class Settling(NamedTuple):
    """Diagnostics of inference.

    Attributes:
      energy: for each node, half its squared error, summed over the node and averaged
        over the examples.
      residual: the norm of dE/dv at the last step, relative to the first.
      settled: whether the residual fell below 1e-3 (never with numbers not finite).
    """

    energy: dict[str, jax.Array]
    residual: jax.Array
    settled: jax.Array


class _Settled(NamedTuple):
    """Where inference ended: loss and aux of the forward pass, values, errors."""

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    errors: dict[str, jax.Array]
    residual: jax.Array


@rule
class PredictiveCoding(Rule):
    """Let values settle between prediction and target, then learn from local errors.

        v_n <- v_n - rate dE/dv_n,   dE/dv_n = e_n - sum_m <e_m, dp_m/dv_n> + dL/dv_n

    where m are the nodes that n predicts directly. Energies are those of single
    examples: rates do not depend on the batch size.

    With fixed predictions the recursion is linear and its fixed point is the exact
    gradient on every graph; at rate 1 it is reached after as many steps as the longest
    path of nodes (`circuit.depth`). A teaching signal that needs k steps arrives after
    T steps with the weight P[Binomial(T, rate) >= k].

    Args:
      steps: how many steps values take.
      rate: their size. Not used with an optax transformation.
      prediction: `"fixed"` at the feed-forward values, or `"free"` to follow the
        values (traditional predictive coding; not backpropagation).
      inference: None for plain gradient steps, any `optax.GradientTransformation`, or
        `Sweep()` for visits one node at a time (fixed predictions).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.PredictiveCoding())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = learner(w, state, x)
      >>> bool(jnp.allclose(credit.grads["a"], jax.grad(loss_fn)(w, x)["a"]))
      True

    Source: Whittington & Bogacz 2017, Neural Computation 29; Millidge, Tschantz &
    Buckley 2020, arXiv:2006.04182; Rosenbaum 2022, PLOS ONE 17(3).
    """

    steps: int = static(default=20)
    rate: float = 1.0
    prediction: str = static(default="fixed")
    inference: optax.GradientTransformation | Sweep | None = static(default=None)

    citation: ClassVar[str] = (
        "@article{millidge2022predictive, title={Predictive Coding Approximates "
        "Backprop Along Arbitrary Computation Graphs}, author={Millidge, Beren and "
        "Tschantz, Alexander and Buckley, Christopher L.}, journal={Neural "
        "Computation}, volume={34}, year={2022}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {"rate": (0.01, 1.0, "log")}

    def __post_init__(self) -> None:
        check_choice(self.prediction, "prediction", ("fixed", "free"))
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(
                f"`steps` must be a whole number above 0, not {self.steps!r}."
            )
        if self.prediction == "free" and isinstance(self.inference, Sweep):
            raise ValueError(
                "`Sweep` needs `prediction='fixed'`: with free predictions a visit has "
                "no closed form."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that nodes are separated and that the examples can be counted."""
        del key, params, args
        circuit.require_nodes()
        _ = circuit.scale
        if isinstance(self.inference, Sweep):
            self.inference.visits(circuit)
        return ()

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Settle, and pull the errors back through what made each node."""
        end = self._settle(circuit, params, args)
        share = 1 / circuit.batch_size
        energy = {n: share * squared_norm(e) / 2 for n, e in end.errors.items()}
        info = Settling(energy, end.residual, end.residual < _SETTLED)
        grads = circuit.leaves.build(end.grads)
        return Credit(end.value, end.aux, grads, state, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values and predictions after settling; the teaching signal is -e."""
        del state
        end, scale = self._settle(circuit, params, args), circuit.scale
        return {
            n: Signal(end.values[n], end.values[n] - e, -e / scale)
            for n, e in end.errors.items()
        }

    def _settle(self, circuit: Circuit, params: Any, args: Any) -> _Settled:
        if self.prediction == "free":
            return self._settle_free(circuit, params, args)
        return self._settle_fixed(circuit, params, args)

    # ------------------------------------------------------------ fixed predictions

    def _settle_fixed(self, circuit: Circuit, params: Any, args: Any) -> _Settled:
        if self._is_one_exact_sweep():
            return _sweep_exactly(circuit, params, args)
        value, aux, values, pullback = _linearise(circuit, params, args)
        scale = circuit.scale

        def pull(errors: Any) -> Any:
            # In the units of the loss: a user's derivative rule that is not linear (a
            # clipped gradient) then sees what it sees in backpropagation.
            return pullback(jax.tree.map(lambda e: -e / scale, errors))

        def slope(errors: Any) -> Any:
            """dE/dv of one example, at the feed-forward values."""
            return jax.tree.map(lambda e, c: e + scale * c, errors, pull(errors)[1])

        errors = jax.tree.map(jnp.zeros_like, values)
        if isinstance(self.inference, Sweep):
            errors, residual = self._sweep(circuit, slope, errors)
        else:
            errors, residual = self._relax(circuit, slope, errors)
        grads = pull(errors)[0]
        settled = jax.tree.map(jnp.add, values, errors)
        return _Settled(value, aux, grads, settled, errors, residual)

    def _is_one_exact_sweep(self) -> bool:
        sweep, rate = self.inference, self.rate
        exact = isinstance(rate, (int, float)) and rate == 1
        return isinstance(sweep, Sweep) and sweep.order is None and exact

    def _sweep(self, circuit: Circuit, slope: Any, errors: Any) -> Any:
        assert isinstance(self.inference, Sweep)
        first = last = jnp.zeros(())
        for i in range(self.inference.sweeps):
            last = jnp.zeros(())
            for name in self.inference.visits(circuit):
                # Only this node's part is used, so only its part is computed.
                part = slope(errors)[name]
                errors = {**errors, name: errors[name] - self.rate * part}
                last = last + squared_norm(part)
            first = last if i == 0 else first
        return errors, jnp.sqrt(last / first)

    def _relax(self, circuit: Circuit, slope: Any, values: Any) -> Any:
        """Steps of the chosen transformation, and the residual at the last one."""
        assert not isinstance(self.inference, Sweep)
        optimizer = as_optimizer(self.inference, self.rate)

        def step(carry: Any) -> Any:
            values, state, first, _ = carry
            grads = slope(values)
            norm = jnp.sqrt(squared_norm(grads))
            updates, state = optimizer.update(grads, state, values)
            values = optax.apply_updates(values, updates)
            return values, state, jnp.where(first < 0, norm, first), norm

        start = (values, optimizer.init(values), jnp.float32(-1), jnp.float32(0))
        values, _, first, last = repeat(circuit, step, start, self.steps)
        return values, last / first

    # ------------------------------------------------------------- free predictions

    def _settle_free(self, circuit: Circuit, params: Any, args: Any) -> _Settled:
        learned, fixed = circuit.leaves.pick(params)
        start = circuit.run(params, args)
        scale = circuit.scale

        def share(learned: Any, values: Any) -> Any:
            """The energy of one example's share of the loss: E / scale."""
            here = circuit.leaves.build(learned, fixed)
            run = circuit.run(here, args, tap="clamp", inject=values, parallel=True)
            errors = {n: v - run.sites[n] for n, v in values.items()}
            return squared_norm(errors) / (2 * scale) + run.loss, errors

        def slope(values: Any) -> Any:
            """dE/dv of one example."""
            grads, _ = jax.grad(share, argnums=1, has_aux=True)(learned, values)
            return jax.tree.map(lambda g: scale * g, grads)

        values, residual = self._relax(circuit, slope, start.sites)
        grads, errors = jax.grad(share, has_aux=True)(learned, values)
        return _Settled(start.loss, start.aux, grads, values, errors, residual)


def _linearise(circuit: Circuit, params: Any, args: Any) -> Any:
    """Values of the forward pass, and its local derivatives, transposed.

    `pullback(e)` is `dL + sum_n <e_n, dp_n>`, to the learned leaves and to the values,
    no chain crossing a node.
    """
    learned, fixed = circuit.leaves.pick(params)
    start = circuit.run(params, args) if circuit.parallel else None

    def network(learned: Any, errors: Any) -> Any:
        here = circuit.leaves.build(learned, fixed)
        if start is None:
            run = circuit.run(here, args, tap="hold", inject=errors)
        else:  # the steps of a loop are independent once its values are known
            held = jax.tree.map(jnp.add, start.sites, errors)
            run = circuit.run(here, args, tap="clamp", inject=held, parallel=True)
        return (run.loss, run.sites), run.aux

    (value, values), transposed, aux = jax.vjp(
        network, learned, circuit.zeros(), has_aux=True
    )
    if start is not None:
        value, aux, values = start.loss, start.aux, start.sites

    def pullback(errors: Any) -> Any:
        return transposed((jnp.ones_like(value), errors))

    return value, aux, values, pullback


def _sweep_exactly(circuit: Circuit, params: Any, args: Any) -> _Settled:
    """One back-to-front sweep at rate 1: each node takes its minimum in turn.

    The minimum of node n, given those after it, is e_n = sum_m <e_m, dp_m/dv_n> -
    dL/dv_n: reverse-mode differentiation, node by node, also inside loops. So it is
    done by one reverse pass; its cotangents at the nodes are -e.
    """
    learned, fixed = circuit.leaves.pick(params)

    def network(learned: Any, errors: Any) -> Any:
        here = circuit.leaves.build(learned, fixed)
        run = circuit.run(here, args, tap="offset", inject=errors)
        return run.loss, (run.aux, run.sites)

    gradient = jax.value_and_grad(network, argnums=(0, 1), has_aux=True)
    (value, (aux, values)), (grads, cotangents) = gradient(learned, circuit.zeros())
    errors = jax.tree.map(lambda c: -circuit.scale * c, cotangents)
    settled = jax.tree.map(jnp.add, values, errors)
    return _Settled(value, aux, grads, settled, errors, jnp.zeros(()))

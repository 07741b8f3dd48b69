"""Backpropagation, the reference: delta_n = dL/d(node n), through the true weights.

L is the loss function, or the squared error that some rules descend in its place.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ..circuit import OUTPUT, Circuit, Run
from ._base import Credit, Rule, Signal, local_signals, rule, static
from ._call_checks import SQUARED_ERROR, squared_error, target_of
from ._field_checks import check_choice


@rule
class Backpropagation(Rule):
    """The gradient of the loss, from `jax.value_and_grad` itself.

        dtheta = dL/dtheta

    Args:
      descends: `"loss"`, the loss function; or `"squared-error"`, half the squared
        distance of the output to its target (`target=`), to compare with rules that
        descend that. The value of the loss function is reported in both cases.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.Backpropagation())
      >>> w, x = jnp.ones((2, 1)), jnp.ones((3, 2))
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> learner(w, state, x).grads.tolist()
      [[4.0], [4.0]]

    Source: Rumelhart, Hinton & Williams 1986, Nature 323.
    """

    descends: str = static(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="loss"
    )

    citation: ClassVar[str] = (
        "@article{rumelhart1986learning, title={Learning representations by "
        "back-propagating errors}, author={Rumelhart, David E. and Hinton, Geoffrey E. "
        "and Williams, Ronald J.}, journal={Nature}, volume={323}, year={1986}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )

    def __post_init__(self) -> None:
        check_choice(self.descends, "descends", ("loss", SQUARED_ERROR))

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Refuse the squared error without one output and its target."""
        if self.descends == SQUARED_ERROR:
            circuit.require_output()
            target_of(circuit, args, type(self).__name__)
        return super().init(circuit, key, params, args)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The loss, and the gradient of what is descended."""
        learned, fixed = circuit.leaves.split(params)

        def loss(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            if self.descends == SQUARED_ERROR:
                run = circuit.run(here, args, sites=(OUTPUT,))
                return self._error(circuit, run, args), (run.loss, run.aux)
            result = circuit.loss_fn(here, *args)
            pair = result if circuit.spec.has_aux else (result, None)
            return pair[0], pair

        (_, (value, aux)), grads = jax.value_and_grad(loss, has_aux=True)(learned)
        return Credit(value, aux, circuit.leaves.combine(grads), state, ())

    def backward_path(
        self, circuit: Circuit, params: Any, state: Any
    ) -> dict[str, Any]:
        """Nothing: signals pass back through the forward weights."""
        return {}

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The true cotangent at each node."""
        del state
        if self.descends == "loss":
            return local_signals(circuit, params, args)
        errors = circuit.zeros()
        sites = (*errors, OUTPUT)

        def loss(errors: Any) -> Any:
            run = circuit.run(params, args, tap="offset", inject=errors, sites=sites)
            return self._error(circuit, run, args), run.sites

        cotangents, values = jax.grad(loss, has_aux=True)(errors)
        return {n: Signal(values[n], values[n], cotangents[n]) for n in errors}

    def _error(self, circuit: Circuit, run: Run, args: Any) -> jax.Array:
        target = target_of(circuit, args, type(self).__name__)
        return squared_error(circuit, run.sites[OUTPUT], target)

"""Backpropagation: the reference. delta_n = dL/d(node n), through the true weights."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ..circuit import Circuit
from ._rule import Credit, Rule, local_signals, rule


@rule
class Backpropagation(Rule):
    """The gradient of the loss, from `jax.value_and_grad` itself.

    Args: none.

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

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The loss and its gradient."""
        learned, fixed = circuit.leaves.pick(params)
        has_aux = circuit.setting.has_aux

        def loss(learned: Any) -> Any:
            return circuit.loss_fn(circuit.leaves.build(learned, fixed), *args)

        result, grads = jax.value_and_grad(loss, has_aux=has_aux)(learned)
        value, aux = result if has_aux else (result, None)
        return Credit(value, aux, circuit.leaves.build(grads), state, ())

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The true cotangent at each node."""
        del state
        return local_signals(circuit, params, args)

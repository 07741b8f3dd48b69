"""Control rules: untrained hidden layers under a learned readout, and the reverse.

Easy images such as the digits can be classified from random features. A rule that is
not more accurate than `UntrainedHiddenLayers` has not been shown to train a hidden
layer.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from apical import Credit
from apical.circuit import Circuit
from apical.rules import Rule, rule
from apical.rules._base import SearchSpace


@rule
class UntrainedHiddenLayers(Rule):
    """Gradient descent on the readout; all other parameters keep their initial values.

        d readout = dL/d readout,      d hidden = 0

    The gradient is stopped at every node: the parameters it still reaches are the
    readout. The state is a pytree of booleans, True for these.
    """

    needs: ClassVar[tuple[str, ...]] = ("signed error units",)
    # A linear readout alone needs larger steps than a network that learns as a whole.
    rate_scale: ClassVar[float] = 10.0

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the parameters that are the readout."""
        del key
        grads = self._stopped_gradient(circuit, params, args)[1]
        return jax.tree.map(lambda g: jnp.any(g != 0), grads)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The loss, and its gradient by the readout."""
        (value, aux), grads = self._stopped_gradient(circuit, params, args)
        return Credit(value, aux, grads, state, ())

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """Update the readout only, also if the optimiser has a weight decay."""
        moved, optimizer_state, credit = super().train(
            circuit, params, state, args, optimizer, optimizer_state
        )
        before, after = circuit.learned(params), circuit.learned(moved)
        kept = jax.tree.map(jnp.where, state, after, before)
        return circuit.merged(params, kept), optimizer_state, credit

    def _stopped_gradient(self, circuit: Circuit, params: Any, args: Any) -> Any:
        learned, fixed = circuit.leaves.split(params)

        def loss(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, args, tap="stop")
            return run.loss, run.aux

        value, grads = jax.value_and_grad(loss, has_aux=True)(learned)
        return value, circuit.leaves.combine(grads)


# ---- Any rule with a readout that keeps its initial values
#
# The readout stays a parameter, so that the rule has feedback weights for it: through a
# constant the teaching signal would pass by its transpose.


class FrozenState(NamedTuple):
    """The state of the rule, and which parameters are the readout (booleans)."""

    learning: Any
    readout: Any


@rule
class FrozenReadout(Rule):
    """A rule for the hidden layers, under a readout that keeps its initial values.

        d readout = 0,      d hidden = that of the rule

    The readout is what the gradient of the loss reaches without passing a node. A sweep
    draws no hyper-parameters of the rule.

    Args:
        learning: the rule.

    Source: Liao, Leibo & Poggio 2016, AAAI (the control with a fixed last layer).
    """

    learning: Rule

    citation: ClassVar[str] = (
        "@inproceedings{liao2016important, title={How Important Is Weight Symmetry in "
        "Backpropagation?}, author={Liao, Qianli and Leibo, Joel Z. and Poggio, "
        "Tomaso}, booktitle={AAAI}, year={2016}}"
    )
    search_space: ClassVar[SearchSpace] = {}

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The requirements of the rule."""
        return self.learning.needs

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The state of the rule, and the parameters that are the readout."""
        readout = UntrainedHiddenLayers().init(circuit, key, params, args)
        return FrozenState(self.learning.init(circuit, key, params, args), readout)

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The state of the rule for a new batch."""
        begun = self.learning.reset(circuit, params, state.learning, args)
        return state._replace(learning=begun)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The credit of the rule, without that of the readout."""
        found = self.learning.credit(circuit, params, state.learning, args)
        grads = _hidden(circuit.learned(found.grads), state.readout)
        return found._replace(grads=grads, state=state._replace(learning=found.state))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The signals of the rule, which passes them through the readout as usual."""
        return self.learning.signals(circuit, params, state.learning, args)

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the network that the rule trains."""
        return self.learning.predict(circuit, params, state.learning, args)

    def reference(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The reference of the rule, for the hidden layers."""
        found = self.learning.reference(circuit, params, state.learning, args)
        return _hidden(circuit.learned(found), state.readout)

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """Update the hidden layers only, also if the optimiser has a weight decay.

        Raises:
            ValueError: for a rule that updates parameters and state together.
        """
        moved, optimizer_state, credit = super().train(
            circuit, params, state, args, optimizer, optimizer_state
        )
        before, after = circuit.learned(params), circuit.learned(moved)
        kept = jax.tree.map(jnp.where, state.readout, before, after)
        return circuit.merged(params, kept), optimizer_state, credit

    def __post_init__(self) -> None:
        if getattr(self.learning, "coupled", False):
            raise ValueError(
                f"`learning` is {type(self.learning).__name__}, which moves feedback "
                "weights with the weights: there is no such rule with a readout that "
                "stays. Give one that returns gradients, such as FeedbackAlignment()."
            )


def _hidden(grads: Any, readout: Any) -> Any:
    return jax.tree.map(lambda r, g: jnp.where(r, 0, g), readout, grads)

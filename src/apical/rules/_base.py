"""The protocol of rules, and what their methods return."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

import jax
import optax

from ..circuit import Circuit
from ._call_checks import SQUARED_ERROR, squared_error, target_of
from ._inner_optimizers import apply_optimizer

C = TypeVar("C")
# For each number that a sweep may vary: low, high, and "log" or "linear".
SearchSpace = dict[str, tuple[float, float, str]]


NEEDS = (
    *("weight transport", "separate phases", "global error", "global reward"),
    *("stored activities", "derivative of the nonlinearity", "update locking"),
    *("signed error units", "second network", "labels in every layer"),
    "backward through time",
)
"""The words of `Rule.needs`: requirements that a biological neuron does not meet."""


class Credit(NamedTuple):
    """What one call of a learner returns.

    Attributes:
      value: the loss, from the undisturbed forward computation.
      aux: what `loss_fn` returned beside it, or None.
      grads: the update directions: the pytree of the parameters, None where a leaf is
        not learned. Hand them to any optax optimiser.
      state: what the next call needs.
      info: diagnostics; no later computation uses them.
    """

    value: jax.Array
    aux: Any
    grads: Any
    state: Any
    info: Any


class TrainState(NamedTuple):
    """The state of a training step.

    Attributes:
      rule: the rule's state, which learners and measures take.
      optimizer: the optimiser's state.
    """

    rule: Any
    optimizer: Any


class Signal(NamedTuple):
    """The quantities of a rule at one node, to compare with neural recordings.

    Attributes:
      value: the node's value.
      prediction: the result of the forward computation at the node, given the values of
        the nodes before it.
      teaching: the teaching signal, in the units and with the sign of the gradient of
        the loss: with backpropagation it equals the gradient.
    """

    value: jax.Array
    prediction: jax.Array
    teaching: jax.Array


def static(*, default: Any) -> Any:
    """A field of a rule that chooses an algorithm: never traced, not a leaf."""
    return field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(field, static))
def rule(cls: type[C]) -> type[C]:
    """Make a class a frozen dataclass and a pytree, whose numbers are its leaves."""
    if not isinstance(cls, type):
        raise TypeError(f"`@rule` decorates a class, not {cls!r}.")
    made: Any = dataclass(frozen=True)(cls)
    static_names = {f.name for f in fields(made) if f.metadata.get("static")}
    jax.tree_util.register_dataclass(
        made,
        data_fields=[f.name for f in fields(made) if f.name not in static_names],
        meta_fields=sorted(static_names),
    )
    return made


class Rule:
    """The protocol of a rule. Subclass it with `@rule` and write `credit`.

    Every method gets the `circuit` of the loss function at these shapes, and is pure.

    Attributes:
      citation: the sources, as BibTeX; each entry begins on a new line.
      needs: the requirements that a biological neuron does not meet, in the words of
        the docs.
      search_space: the numbers that a sweep varies, each `(low, high, scale)` with
        the scale `"log"` or `"linear"`. Sweeps use it by default.
      nodes: the nodes that the rule works on, if `nodes=` is not given.
      coupled: whether parameters and state must move together, by
        `apical.train_step`.
      derivative_free: whether the rule works if the loss has no derivative with respect
        to the parameters.
      descends: the loss that the rule descends: `"loss"`, the loss function;
        `"squared-error"`, half the squared distance of the output to its target,
        whatever the loss function is; or another word, with a method `descended`.
      through_time: whether the rule finds the derivatives of loops forwards in time; a
        loss function without a loop is then one step from its carry, if there is one.
      passes: of such a rule, what a recurrent synapse passes back in time: `"nothing"`,
        `"factors"` (nothing, with traces that are products of two factors), `"own"`
        (what leads from a unit to itself), `"some"` or `"everything"`.
      rate_scale: the factor by which a sweep multiplies the usual learning rates.
    """

    citation: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    search_space: ClassVar[SearchSpace] = {}
    nodes: ClassVar[str] = "entry"
    coupled: ClassVar[bool] = False
    derivative_free: ClassVar[bool] = False
    descends: ClassVar[str] = "loss"
    through_time: ClassVar[bool] = False
    passes: ClassVar[str] = "everything"
    rate_scale: ClassVar[float] = 1.0

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The state before the first call; unsupported problems raise ValueError."""
        del circuit, key, params, args
        return ()

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The state for a new batch; needed by rules whose values persist."""
        del circuit, params, args
        return state

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One call: the loss, the gradients and the new state."""
        raise NotImplementedError(f"{type(self).__name__} does not define `credit`.")

    def signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> dict[str, Signal]:
        """Value, prediction and teaching signal at each node; optional."""
        raise NotImplementedError(f"{type(self).__name__} does not define `signals`.")

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the trained network; a tuple if there are several outputs."""
        del state
        run = circuit.run(params, args, sites=("output",))
        return circuit.batch.split_outputs(run.sites["output"])

    def trained_params(self, circuit: Circuit, params: Any, state: Any) -> Any:
        """The parameters of the network that is trained: removed weights are 0."""
        del circuit, state
        return params

    def backward_path(
        self, circuit: Circuit, params: Any, state: Any
    ) -> dict[str, Any]:
        """The arguments of `Circuit.run` that replace weights of the backward path.

        Optional, for rules whose teaching signals pass back through synapses.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not send teaching signals back through "
            "synapses, or does not define `backward_path`."
        )

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """A scalar with the gradient of the loss that the rule descends.

        It is the loss of the network that is trained; only `reference` calls it.
        """
        del state
        if self.descends == "loss":
            result = circuit.loss_fn(params, *args)
            return result[0] if circuit.spec.has_aux else result
        if self.descends == SQUARED_ERROR:
            output = circuit.run(params, args, sites=("output",)).sites["output"]
            target = target_of(circuit, args, type(self).__name__)
            return squared_error(circuit, output, target)
        raise NotImplementedError(
            f"{type(self).__name__} says that it descends {self.descends!r}, which is "
            f"neither 'loss' nor {SQUARED_ERROR!r}: define its method `descended`."
        )

    def reference(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Backpropagation's gradients of the loss that the rule descends."""
        learned, fixed = circuit.leaves.split(params)

        def loss(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            return self.descended(circuit, here, state, args)

        return circuit.leaves.combine(jax.grad(loss)(learned))

    def check_optimizer(
        self, circuit: Circuit, params: Any, optimizer: optax.GradientTransformation
    ) -> None:
        """Refuse an optimiser that the rule cannot work with."""

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """One update of the parameters: `(params, optimizer_state, credit)`."""
        credit = self.credit(circuit, params, state, args)
        learned = circuit.learned(params)
        moved, optimizer_state = apply_optimizer(
            optimizer, credit.grads, optimizer_state, learned, credit.value
        )
        return circuit.merged(params, moved), optimizer_state, credit


def cited(*parts: Any) -> str:
    """The BibTeX entries of parts (strings, or objects with a `citation`)."""
    entries = [p if isinstance(p, str) else getattr(p, "citation", "") for p in parts]
    return "\n".join(dict.fromkeys(entry for entry in entries if entry))


def has_signals(rule: Rule) -> bool:
    """Whether a rule has teaching signals at the nodes of a whole call."""
    return type(rule).signals is not Rule.signals and not rule.through_time


def local_signals(circuit: Circuit, params: Any, args: Any, **feedback: Any) -> Any:
    """The signals of a rule whose teaching signal is a (modified) cotangent."""
    errors = circuit.zeros()

    def loss(errors: Any) -> Any:
        run = circuit.run(params, args, tap="offset", inject=errors, **feedback)
        return run.loss, run.sites

    cotangents, values = jax.grad(loss, has_aux=True)(errors)
    return {n: Signal(values[n], values[n], cotangents[n]) for n in values}

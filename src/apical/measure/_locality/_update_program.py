"""The program of one call of a learner: its gradients and its new state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...circuit import (
    USE_MARKS,
    Circuit,
    MarkedLoss,
    Partition,
    Use,
    shapes_of,
    stochastic_nodes,
    trace_program,
    weight_uses,
)
from ...rules._learner import Learner
from ._copies import Copies, CopiesPass
from ._static_pass import StaticPass
from ._values import Raw, Source, Value

# The step of a rule whose parameters and state move together.
_STEP = 0.125


class UpdateProgram:
    """The gradients and the new state of a learner at some arguments, with marks.

    Attributes:
      circuit: the circuit of the loss function.
      uses: the uses of weights by its forward computation.
      leaves: the leaves of the parameters.
      state: the leaves of the rule's state.
      args: the leaves of the arguments.
      labels: the positions of the arrays of the arguments that reach the loss, but not
        the output of the network.
    """

    def __init__(
        self,
        learner: Learner,
        params: Any,
        state: Any,
        args: tuple[Any, ...],
    ) -> None:
        self.circuit: Circuit = learner.circuit(params, *args)
        # A unit in a loop may have another nonlinearity at every step; that of a
        # stochastic unit is the rule's.
        self.derivatives = not (self.circuit.has_loop or stochastic_nodes(self.circuit))
        self.uses: tuple[Use, ...] = weight_uses(self.circuit)
        has_aux = bool(learner.description.get("has_aux", False))
        self._loss = MarkedLoss(learner.circuit, has_aux, self.derivatives)
        self._learner = Learner(self._loss, learner.rule, learner.description)
        self._require_same_nodes(params, args)
        self.leaves, self.params = Partition.of(params), params
        self.state = Partition.of(state, learn=False)
        self.args = Partition.of(args, learn=False)
        learned, self.fixed = self.leaves.split(params)
        self.learned = [jnp.asarray(each) for each in learned]
        self.old_state = self.state.split(state)[1]
        self.given = self.args.split(args)[1]
        self.labels = self._labels()

    def _require_same_nodes(self, params: Any, args: tuple[Any, ...]) -> None:
        """Require that the marks left the nodes that the rule works on."""
        marked = self._learner.circuit(params, *args)
        ours, theirs = (
            [(n.name, n.shape, n.unit) for n in each.nodes]
            for each in (self.circuit, marked)
        )
        if ours != theirs:
            raise RuntimeError(
                "The marks of `apical.measure.locality` change the nodes of this loss "
                f"function, from {ours} to {theirs}. This is an error of apical: "
                "please report it with the loss function."
            )

    # ---- The forward computation.

    @cached_property
    def forward(self) -> StaticPass:
        """The static pass over the loss function, each leaf sending a signal."""
        count = len(self.learned)

        def loss(*arrays: Any) -> Any:
            params = self.leaves.combine(arrays[:count], self.fixed)
            args = self.args.combine([], arrays[count:])
            found = self._loss(params, *args)
            return found[0] if isinstance(found, tuple) else found

        program, _ = trace_program(loss, *shapes_of([*self.learned, *self.given]))
        signals = [
            Value(hops={f"argument {i}": (0.0, 0.0)}) for i in range(len(self.given))
        ]
        inputs = [*self._weights("params", count), *signals]
        return StaticPass(program, inputs, self.uses, tell=True)

    def _labels(self) -> tuple[int, ...]:
        loss, output = self.forward.outputs[0], self.forward.operations.at_output
        names = [f"argument {i}" for i in range(len(self.given))]
        reach = (n in loss.hops and n not in output.hops for n in names)
        return tuple(i for i, found in enumerate(reach) if found)

    @cached_property
    def outputs(self) -> int:
        """The number of output units of an example; 0 if that is not known."""
        shapes = self.circuit.structure
        sizes = [math.prod(shapes.shape(n).shape) for n in shapes.outputs]
        return sum(sizes) // self.circuit.batch_size

    @property
    def examples(self) -> int | None:
        """The number of examples, if one number for each is less than the output."""
        return self.circuit.batch_size if self.outputs > 1 else None

    def distance(self, leaf: int) -> tuple[float, float] | None:
        """The fewest and the most weight uses from a leaf to the output."""
        return self.forward.operations.at_output.hops.get(f"leaf {leaf}")

    @cached_property
    def above(self) -> tuple[frozenset[int], ...]:
        """For each leaf, those that only use what was computed with it."""
        after: list[set[int]] = [set() for _ in self.learned]
        for number, value in self.forward.operations.at_result.items():
            for leaf in range(len(self.learned)):
                if value.hops.get(f"leaf {leaf}", (0.0, 0.0))[1] >= 1:
                    after[leaf] |= self.uses[number].leaves
        # A weight that comes after itself in a loop comes after others in time alone.
        in_time = {k for k, found in enumerate(after) if k in found}
        in_time = in_time if self.circuit.has_loop else set[int]()
        return tuple(
            frozenset(k for k in found - in_time if k != leaf and leaf not in after[k])
            for leaf, found in enumerate(after)
        )

    # ---- The update.

    def _weights(self, tree: str, count: int) -> list[Value]:
        return [Value(raw={Source(tree, i): Raw()}) for i in range(count)]

    @cached_property
    def program(self) -> Any:
        """The traced update: gradients, then the arrays of the new state."""
        found = trace_program(self._update, *shapes_of(self.inputs()))
        return found[0]

    def inputs(self) -> list[Any]:
        """The arrays that the update is computed from."""
        return [*self.learned, *self.fixed, *self.old_state, *self.given]

    def _update(self, *arrays: Any) -> list[Any]:
        counts = [len(self.learned), len(self.fixed), len(self.old_state)]
        parts, rest = [], list(arrays)
        for count in counts:
            parts.append(rest[:count])
            rest = rest[count:]
        params = self.leaves.combine(parts[0], parts[1])
        state = self.state.combine([], parts[2])
        grads, new = self._moved(params, state, self.args.combine([], rest))
        after = [x for x in jax.tree.leaves(new) if isinstance(x, jax.Array)]
        return [*self.leaves.split(grads)[0], *map(_numbers, after)]

    def _moved(self, params: Any, state: Any, args: tuple[Any, ...]) -> tuple[Any, Any]:
        """The gradients, and the state after them."""
        learner = self._learner
        credit = learner.credit(params, state, *args)
        if not learner.rule.coupled:
            return credit.grads, credit.state
        # The state of such a rule moves with the parameters.
        optimizer = optax.sgd(_STEP)
        circuit = learner.circuit(params, *args)
        start = optimizer.init(circuit.learned(params))
        after = learner.rule.train(circuit, params, state, args, optimizer, start)[2]
        return credit.grads, after.state

    @cached_property
    def static(self) -> StaticPass:
        """The static pass over the update."""
        signals = [
            Value(hops={"label" if i in self.labels else "input": (0.0, 0.0)})
            for i in range(len(self.given))
        ]
        fixed = [Value() for _ in self.fixed]
        inputs = [
            *self._weights("params", len(self.learned)),
            *fixed,
            *map(_kept, range(len(self.old_state)), self.old_state),
            *signals,
        ]
        return StaticPass(self.program, inputs, self.uses, self.examples)

    @property
    def of_grads(self) -> Sequence[Value]:
        """What is known of the gradient of each leaf."""
        return self.static.outputs[: len(self.learned)]

    @property
    def of_state(self) -> Sequence[Value]:
        """What is known of each array of the new state."""
        return self.static.outputs[len(self.learned) :]

    @property
    def units(self) -> tuple[str, ...]:
        """The nodes whose derivatives are marked."""
        units = (node.name for node in self.circuit.nodes if node.unit)
        return tuple(units) if self.derivatives else ()

    @cached_property
    def feedback(self) -> frozenset[int]:
        """The arrays of the state that are weights on the way to an update."""
        return frozenset(
            seen.source.leaf
            for value in self.static.outputs
            for seen in value.seen
            if seen.channel == "feedback" and self._is_weight(seen.source.leaf)
        )

    def _is_weight(self, number: int) -> bool:
        """Whether an array of the state holds numbers, and none for each example."""
        array = self.old_state[number]
        real = jnp.issubdtype(array.dtype, jnp.inexact)
        one_each = self.circuit.batch_size in array.shape
        return bool(real) and array.ndim > 0 and not one_each

    def bytes_of(self, value: Value, channel: str) -> int:
        """The size of what a value uses by a channel: of loops, or of the state."""
        found = {s.source.leaf for s in value.seen if s.channel == channel}
        if channel == "feedback":
            arrays = [self.old_state[i] for i in found if i in self.feedback]
        else:
            arrays = [self.program.shapes[i] for i in found]
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays)

    @cached_property
    def both_ways(self) -> bool:
        """Whether some weights of the state are used in both directions."""
        found: dict[int, set[str]] = {}
        for value in self.of_grads:
            for seen in value.seen:
                if seen.channel.startswith("along") and seen.source.tree == "state":
                    found.setdefault(seen.source.leaf, set()).add(seen.channel)
        return any(len(ways) > 1 for ways in found.values())

    @cached_property
    def hops_per_round(self) -> float | None:
        """The most weight uses in one round of a loop that the rule adds."""
        if self.circuit.has_loop:
            return None
        return max(self.static.crossings.values(), default=None)

    # ---- Its evaluation with copies.

    @cached_property
    def run(self) -> Any:
        """A compiled function `(copies, state, given, shift, slopes) -> outputs`.

        `copies` are three lists of leaves, `state` and `given` the arrays of the state
        and of the arguments, `shift` a relative change of the output, and `slopes` a
        factor for the derivative of each unit.
        """
        static = self.static

        @jax.jit
        def run(copies: Any, state: Any, given: Any, shift: Any, slopes: Any) -> Any:
            def at_mark(name: str, value: Any) -> Any:
                if name == USE_MARKS.output:
                    return value * (1 + shift).astype(value.dtype)
                node = name.removeprefix(USE_MARKS.slope)
                if name.startswith(USE_MARKS.slope) and node in slopes:
                    return value * slopes[node].astype(value.dtype)
                return value

            learned = [Copies(*each) for each in zip(*copies, strict=True)]
            inputs = [*learned, *self.fixed, *state, *given]
            return CopiesPass(self.program, static, at_mark)(inputs)

        return run

    @cached_property
    def results(self) -> dict[int, list[np.ndarray]]:
        """The different values that the result of each use takes, by its number."""
        found: dict[int, list[np.ndarray]] = {}

        def keep(number: int, value: Any) -> None:
            kept, value = found.setdefault(number, []), np.asarray(value)
            if not any(_alike(value, each) for each in kept):
                kept.append(value)

        def at_mark(name: str, value: Any) -> Any:
            if name.startswith(USE_MARKS.result):
                number = int(name.removeprefix(USE_MARKS.result))
                jax.debug.callback(lambda x: keep(number, x), value)
            return value

        @jax.jit
        def run(inputs: Any) -> Any:
            learned = [Copies(each, each, each) for each in inputs[: len(self.learned)]]
            inputs = [*learned, *inputs[len(self.learned) :]]
            return CopiesPass(self.program, self.static, at_mark)(inputs)

        jax.block_until_ready(run(self.inputs()))
        jax.effects_barrier()
        return found

    def values(self, leaf: int) -> int | None:
        """The most values that a use of a leaf takes in one call; None in a loop."""
        if self.circuit.has_loop:
            return None  # every step has its own
        uses = [i for i, use in enumerate(self.uses) if leaf in use.leaves]
        return max((len(self.results.get(i, ())) for i in uses), default=0)


def _kept(number: int, array: Any) -> Value:
    """What is known of an array of the state."""
    axes = tuple(range(jnp.ndim(array)))
    return Value(raw={Source("state", number): Raw(axes=axes)})


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two values differ by rounding alone."""
    size = np.max(np.abs(a), initial=0)
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5 * size)


def _numbers(x: jax.Array) -> jax.Array:
    """The numbers of a random key; any other array as it is."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(x)
    return x

"""`Circuit`: the nodes and synapses of a traced loss function, and its evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from . import _rule_requirements as requirements
from ._analysis._naming import Layer
from ._analysis._nodes import Edge, End, Parents
from ._analysis._synapses import Synapse
from ._argument_checks import pick, require_mapping, require_shapes, require_values
from ._batching._batch import Batch
from ._evaluate._evaluator import Evaluator, Run
from ._evaluate._sharding import inner, zeros
from ._evaluate._taps import Tap
from ._loops._loop_evaluation import LoopEvaluation
from ._loops._program_loops import ProgramLoops
from ._pretty_print import mermaid, table
from ._structure import Structure


class Circuit:
    """The nodes and synapses of one traced loss function.

    Made by `apical.trace`. `print(circuit)` shows it, `circuit.mermaid()` draws it;
    `run`, `pull` and `by_example` evaluate it.

    Attributes:
      nodes: every `Node`, in the order of the forward computation.
      synapses: every `Synapse`, in that order.
      leaves: the leaves of the parameters: which are learned, and their names.
      spec: the description of the loss function.
      loss_fn: the loss function.
      structure: all results of the analysis of its program.
      batch: the axes of the examples in its arguments and values.
      loops: its loops whose carry depends on parameters.
      rebuild_aux: the user's `aux` from the program's other outputs.
    """

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        structure: Structure,
        batch: Batch,
        rebuild_aux: Callable[[Any], Any],
    ) -> None:
        self.loss_fn, self.structure, self.batch = loss_fn, structure, batch
        self.nodes, self.synapses = structure.nodes, structure.synapses
        self.leaves, self.spec = structure.leaves, structure.spec
        self.rebuild_aux = rebuild_aux
        self._evaluator = Evaluator(structure, batch, rebuild_aux)
        self.loops = ProgramLoops(structure)

    # ---- Nodes and synapses. Details are in `Structure`.

    @property
    def reach(self) -> dict[str, tuple[Edge, ...]]:
        """For each node, an `Edge` to each node, or the loss, that it reaches next."""
        return self.structure.reach

    @property
    def parents(self) -> dict[str | End, Parents]:
        """The nodes and synapses that directly compute each node and the loss."""
        return self.structure.parents

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The learned leaves grouped into layers, in forward order."""
        return self.structure.layers

    @property
    def separated(self) -> bool:
        """Whether each synapse reaches exactly one node or the loss."""
        return self.structure.separated

    @property
    def depth(self) -> int:
        """The largest number of nodes on a path to the loss."""
        return self.structure.depth

    @property
    def distances(self) -> dict[str, int]:
        """The fewest nodes on a path from each node to the loss, itself included."""
        return self.structure.distances

    @property
    def output_node(self) -> str | None:
        """The name of the node that is also the only output, if there is one."""
        return self.structure.output_node

    @property
    def feedback_leaves(self) -> tuple[int, ...]:
        """The positions of the learned leaves that can have a feedback copy."""
        return self.structure.feedback_leaves

    @property
    def gains(self) -> tuple[tuple[str, str], ...]:
        """Elementwise gains of activities: the parameters, and the line of code."""
        return self.structure.gains

    @property
    def unreached(self) -> dict[str, str]:
        """The leaves that belong to no synapse, and why."""
        return self.structure.unreached

    @property
    def unknown(self) -> tuple[str, ...]:
        """Operations whose code apical cannot read, with their lines."""
        return self.structure.unknown

    @property
    def has_loop(self) -> bool:
        """Whether some node is inside a loop."""
        return self.structure.has_loop

    @property
    def linear_derivatives(self) -> bool:
        """Whether there are no user-written reverse rules, which may be nonlinear."""
        return self.structure.linear_derivatives

    # ---- The batch. Details are in `Batch`.

    @property
    def batch_size(self) -> int:
        """The number of examples, on all devices."""
        return self.batch.total

    @property
    def scale(self) -> int:
        """The factor from an example's share of the gradient to its own gradient."""
        return self.batch.scale

    @property
    def output_shape(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the output (of all of them as one), loops in front."""
        return self.batch.outputs.shape

    @property
    def example_axes(self) -> dict[str, int | None]:
        """The axis of the examples in the `unfolded` value of each node and output."""
        return self.batch.example_axes

    def unfolded(self, site: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a node or the output with a separate axis for the examples."""
        return self.batch.unfolded(site, shape)

    # ---- Requirements of rules; each raises ValueError (`_rule_requirements`).

    def require_nodes(self, or_flat: bool = False) -> None:
        """Require nodes (or no hidden layer), and that no path bypasses a node."""
        requirements.require_nodes(self.structure, or_flat)

    def require_layers_apart(self, or_flat: bool = False) -> None:
        """Require what `require_nodes` does, and at most one layer per operation."""
        requirements.require_layers_apart(self.structure, or_flat)

    def require_feedback(self) -> None:
        """Require that the feedback path reads no forward weight."""
        requirements.require_feedback(self.structure)

    def require_output(self) -> None:
        """Require an output, and no node after it."""
        requirements.require_output(self.structure)

    def require_reversible(self) -> None:
        """Require that JAX can reverse all loops on activities."""
        requirements.require_reversible(self.structure)

    def require_separate(self, rule: str) -> None:
        """Require a loss that is a sum of per-example losses."""
        requirements.require_separate(self.batch, rule)

    # ---- Parameters and values.

    def learned(self, params: Any) -> Any:
        """The learned leaves in their tree, None in place of every other leaf."""
        return self.leaves.combine(self.leaves.split(params)[0])

    def merged(self, params: Any, learned: Any) -> Any:
        """The parameters with the learned leaves replaced."""
        fixed = self.leaves.split(params)[1]
        return self.leaves.combine(self.leaves.split(learned)[0], fixed)

    def zeros(self) -> dict[str, jax.Array]:
        """A zero for each node, of its shape."""
        structure = self.structure
        return {name: zeros(structure.shape(n)) for n, name in structure.names.items()}

    def inputs(self, params: Any, args: tuple[Any, ...]) -> list[Any]:
        """The values of the program's inputs.

        Raises:
          ValueError: for parameters or arguments of another structure or other shapes.
        """
        leaves, ours = self.leaves, self.structure.args
        given = [*pick(leaves, params, "params"), *pick(ours, args, "args")]
        program = self.structure.flow.program
        shapes = [program.shapes[n].shape for n in program.body.inputs]
        require_shapes(given, shapes, leaves, ours)
        return given

    # ---- Evaluation.

    def run(
        self,
        params: Any,
        args: tuple[Any, ...],
        *,
        tap: str | Tap | None = None,
        inject: Mapping[str, Any] | None = None,
        feedback: Any = None,
        backward: Callable[[Synapse, Any, Any], Any] | None = None,
        gains: bool = False,
        sites: Sequence[str] | None = None,
        parallel: bool = False,
    ) -> Run:
        """Evaluate the loss function through taps, or with a second set of weights.

        Args:
          params: the parameters.
          args: the arguments after them.
          tap: `"clamp"`, `"offset"`, `"stop"`, `"hold"`, or any function
            `tap(site, computed, injected)` that returns what consumers read.
          inject: values for the tap, by site: a node's name, `drive_of(name)`,
            `output_of(i)`, or `"output"`. Inside a loop its length stands in front.
          feedback: a second copy of the parameters that only the backward path uses
            (the same pytree; None where the parameter itself is used).
          backward: `backward(synapse, weight, copy)` returns the weight of the backward
            path of a synapse; by default the copy.
          gains: whether feedback also replaces the gains of normalisations.
          sites: the sites to visit; by default every node and every site in `inject`.
          parallel: evaluate the steps of a loop at once where every carry is clamped.

        Returns:
          `Run(loss, aux, sites)`; `sites` has the computed values, before the tap.

        Raises:
          ValueError: for a site that does not exist, and for parameters, arguments,
            injected values or feedback that do not fit.

        Example:
          >>> import jax, jax.numpy as jnp, apical
          >>> def loss_fn(w, x):
          ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
          >>> w, x = {"a": jnp.eye(2), "b": jnp.eye(2)}, jnp.ones((3, 2))
          >>> circuit = apical.trace(loss_fn)(w, x)
          >>> run = circuit.run(w, (x,), tap="clamp", inject={"a": jnp.zeros((3, 2))})
          >>> float(run.loss), run.sites["a"].shape
          (0.0, (3, 2))
        """
        has_feedback = feedback is not None or backward is not None
        return self._evaluator.run(
            self.inputs(params, args),
            tap=tap,
            inject=inject,
            feedback=(
                self._evaluator.feedback_values(params, feedback)
                if has_feedback
                else None
            ),
            backward=backward,
            gains=gains,
            sites=sites,
            parallel=parallel,
        )

    def pull(
        self,
        params: Any,
        args: tuple[Any, ...],
        held: Mapping[str, Any],
        delta: Mapping[str, Any],
        *,
        loss: Any = 0.0,
    ) -> Any:
        """The local product: teaching signals pulled back to each node's parameters.

            gradient = d/d(params) [ loss * L + sum_n <delta_n, computed_n> ]

        with every node held, so that no derivative passes through a node.

        Args:
          params: the parameters.
          args: the arguments after them.
          held: the value of each node that is held, by name.
          delta: the teaching signals, by site: a node's name (pulled back through its
            prediction), `drive_of(name)` (through its drive: no derivative of the
            nonlinearity), `output_of(i)` or `"output"`.
          loss: the weight of the loss's own gradient (the gradient of the parameters
            after the last nodes).

        Returns:
          The gradient: the pytree of `params`, None where a leaf is not learned.

        Example:
          >>> import jax.numpy as jnp, apical
          >>> def loss_fn(w, x):
          ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
          >>> w, x = {"a": jnp.zeros((2, 2)), "b": jnp.eye(2)}, jnp.ones((3, 2))
          >>> circuit = apical.trace(loss_fn)(w, x)
          >>> signal = {"a": jnp.ones((3, 2))}
          >>> circuit.pull(w, (x,), {"a": x}, signal)["a"].tolist()
          [[3.0, 3.0], [3.0, 3.0]]
        """
        delta = require_mapping(delta, "delta")
        learned, fixed = self.leaves.split(params)

        def product(learned: Any) -> Any:
            here = self.leaves.combine(learned, fixed)
            run = self.run(here, args, tap="clamp", inject=held, sites=list(delta))
            require_values(delta, {s: x.shape for s, x in run.sites.items()}, "delta")
            products = (inner(delta[s], run.sites[s]) for s in delta)
            return sum(products, start=loss * run.loss)

        return self.leaves.combine(jax.grad(product)(learned))

    def by_example(
        self,
        params: Any,
        args: tuple[Any, ...],
        *,
        tap: str | Tap | None = None,
        inject: Mapping[str, Any] | None = None,
        sites: Sequence[str] = (),
    ) -> tuple[Run, jax.Array]:
        """Evaluate once, with the loss of each example.

        `loss_fn` runs on the whole batch, so quantities that depend on several examples
        (weights, a count of unmasked tokens, the key of dropout) keep their values.

        Args:
          params: the parameters.
          args: the arguments after them.
          tap: as in `run`.
          inject: as in `run`.
          sites: the sites to visit.

        Returns:
          The `Run`, and `[examples + 1]` losses: those of the examples, whose mean (or
          sum) is the part of the loss that depends on examples; the last is the whole
          loss. All are `scale` times their share.

        Raises:
          ValueError: if activities of several examples are mixed.
        """
        self.require_separate("A loss for each example")
        return self._evaluator.by_example(self.inputs(params, args), tap, inject, sites)

    def at_synapses(
        self,
        params: Any,
        args: tuple[Any, ...],
        send: Callable[[int, jax.Array], jax.Array],
    ) -> list[jax.Array]:
        """The output of each synapse, with its input replaced.

            y_i = op_i(send(i, x_i), W_i)

        Args:
          params: the parameters.
          args: the arguments after them.
          send: `send(i, x)` returns the input of synapse `i` in place of `x`.

        Returns:
          An array for each synapse, the lengths of the loops around it in front; zeros
          in a branch that is not taken.

        Example:
          >>> import jax.numpy as jnp, apical
          >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
          >>> w, x = jnp.ones((2, 1)), jnp.zeros((3, 2))
          >>> circuit = apical.trace(loss_fn)(w, x)
          >>> circuit.at_synapses(w, (x,), lambda i, x: x + 1)[0].tolist()
          [[2.0], [2.0], [2.0]]
        """
        self.require_feedback()
        return self._evaluator.at_synapses(self.inputs(params, args), send)

    # ---- Loops.

    def with_loops(self, evaluation: LoopEvaluation) -> Circuit:
        """A view whose loops have another derivative (`circuit.loops.online`)."""
        view = copy.copy(self)
        view._evaluator = self._evaluator.with_loops(evaluation)
        return view

    # ---- View.

    def __str__(self) -> str:
        return table(self.structure)

    def mermaid(self) -> str:
        """The circuit as a Mermaid flowchart."""
        return mermaid(self.structure)

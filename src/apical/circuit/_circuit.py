"""The nodes and synapses of one traced loss function, and how to evaluate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from . import _view
from ._cut import TAPS, Tap
from ._dataflow import (
    NODE_MARK,
    OUTPUT_MARK,
    Flow,
    Meeting,
    gains,
    refusals,
    unknowns,
    walk,
)
from ._depth import longest_path
from ._examples import Examples
from ._jaxpr import is_concrete
from ._leaves import Leaves
from ._nodes import LOSS, Reacher, Terminal, entering, everything, marked
from ._places import drive, names, outputs
from ._run import Backward, Plan, Runner, parallel_carries
from ._synapse import Synapse, make_synapses


@dataclass(frozen=True)
class Setting:
    """The keywords of `apical.trace`."""

    has_aux: bool = False
    reduction: str = "mean"
    batch: Any = 0
    nodes: str = "entry"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"`reduction` must be 'mean' or 'sum', not {self.reduction!r}.")
        if self.nodes not in ("entry", "unit", "marked", "every"):
            raise ValueError(
                "`nodes` must be 'entry', 'unit', 'marked' or 'every', not "
                f"{self.nodes!r}."
            )


@dataclass(frozen=True)
class Node:
    """An activity that a rule may read, hold or send a teaching signal to.

    Attributes:
      name: from the paths of the parameters that make it, or given by `apical.node`.
      shape: its shape, with the lengths of the loops around it in front.
      dtype: its dtype.
      why: "enters a synapse", "paths part", "marked" or "operation".
      unit: whether it is a nonlinearity of one activity, its drive.
      scope: the names of the modules or functions that compute it.
      where: the line that computes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Any
    why: str
    unit: bool
    scope: str
    where: str


class Run(NamedTuple):
    """What one evaluation of a circuit gives: loss, aux, and the sites before the tap."""

    loss: jax.Array
    aux: Any
    sites: dict[str, jax.Array]


def drive_of(name: str) -> str:
    """The name of the drive site of a node."""
    return f"{name}:drive"


OUTPUT = "output"


class Circuit:
    """The nodes and synapses found in one traced loss function.

    Made by `apical.trace`. `print(circuit)` shows it, `circuit.mermaid()` draws it;
    `run`, `pull` and `examples` evaluate it.

    Attributes:
      nodes: every `Node`, in the order of the forward computation.
      synapses: every `Synapse`, in that order.
      reach: for each node, the nodes (or `"loss"`) that it reaches directly.
      separated: whether each synapse reaches exactly one node or the loss.
      depth: the largest number of nodes on a path to the loss.
    """

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        setting: Setting,
        flow: Flow,
        found: list[Meeting],
        leaves: Leaves,
        given: Leaves,
        rebuild_aux: Callable[[Any], Any],
    ) -> None:
        self.loss_fn, self.setting = loss_fn, setting
        self.leaves, self._given, self._rebuild_aux = leaves, given, rebuild_aux
        self._flow, self._found = flow, found
        self._given_names = marked(flow, NODE_MARK)
        complete = setting.nodes == "entry"
        self._reacher = Reacher(flow, self._chosen(), complete=complete)
        self._numbers = [n for n in flow.maker if n in self._reacher.nodes]
        self._live = [m for m in found if self._reacher.reach.get(m.op.outputs[0])]
        self._names = names(
            flow, self._numbers, leaves.names, self._live, self._given_names
        )
        self.nodes = tuple(self._node(n) for n in self._numbers)
        self.synapses = make_synapses(flow, self._live, leaves.names)
        arrays = flow.program.body.inputs[len(leaves.learned) + len(leaves.arrays) :]
        self._examples = Examples(
            setting, given, [flow.program.shapes[n].shape for n in arrays]
        )

    def _chosen(self) -> set[int]:
        marks = set(self._given_names)
        if self.setting.nodes == "marked":
            return marks
        if self.setting.nodes == "every":
            return everything(self._flow) | marks
        entry = entering(self._flow, self._found)
        if self.setting.nodes == "unit":
            return {n for n in entry | marks if drive(self._flow, n) is not None}
        return entry | marks

    def _node(self, number: int) -> Node:
        flow, op = self._flow, self._flow.maker[number][0]
        inner = flow.program.shapes[number]
        return Node(
            name=self._names[number],
            shape=(*self._loops[id(op)], *inner.shape),
            dtype=inner.dtype,
            why=self._why(number),
            unit=drive(flow, number) is not None,
            scope=op.scope,
            where=op.where,
        )

    def _why(self, number: int) -> str:
        if number in self._given_names:
            return "marked"
        if number in self._reacher.added:
            return "paths part"
        return "operation" if self.setting.nodes == "every" else "enters a synapse"

    @cached_property
    def _loops(self) -> dict[int, tuple[int, ...]]:
        return {id(s.op): s.loops for s in walk(self._flow.program.body)}

    # ------------------------------------------------------------------ structure

    def _label(self, terminal: Terminal) -> str:
        number, later = terminal
        if number == LOSS:
            return "loss"
        return self._names[number] + (" (later)" if later else "")

    @cached_property
    def reach(self) -> dict[str, tuple[str, ...]]:
        """For each node, what it reaches directly; "(later)" is through a loop's carry."""
        following = self._reacher.next
        return {
            self._names[n]: tuple(sorted(self._label(t) for t in following[n]))
            for n in self._numbers
        }

    @cached_property
    def separated(self) -> bool:
        """Whether each synapse's output reaches exactly one node or the loss."""
        reach = self._reacher.reach
        return all(len(reach[m.op.outputs[0]]) == 1 for m in self._live)

    @cached_property
    def depth(self) -> int:
        """The largest number of nodes on a path from the inputs to the loss."""
        return longest_path(self._flow, set(self._numbers))

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The activities that the loss reads, by variable; see `output`."""
        given = marked(self._flow, OUTPUT_MARK)
        found = outputs(self._flow, self._live, self._reacher.reach)
        return tuple(given) or tuple(found)

    @cached_property
    def output(self) -> int:
        """The variable of the one output node, or refuse."""
        if len(self.outputs) != 1:
            problem = "no output" if not self.outputs else "more than one output"
            raise ValueError(
                f"The loss function has {problem} that can be told from the program "
                f"({len(self.outputs)} candidates). Mark it: `y = apical.output(y)`."
            )
        return self.outputs[0]

    @cached_property
    def feedback_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that a second copy would reach."""
        crossed = (m.leaves for m in self._found if m.weight is not None)
        return tuple(sorted(frozenset[int]().union(*crossed)))

    @cached_property
    def _gains(self) -> list[Meeting]:
        return gains(self._flow)

    @cached_property
    def gain_leaves(self) -> tuple[int, ...]:
        """The learned leaves, by position, that multiply an activity entry by entry."""
        return tuple(sorted(frozenset[int]().union(*(m.leaves for m in self._gains))))

    @cached_property
    def unreached(self) -> dict[str, str]:
        """The leaves that no synapse carries, and why."""
        reasons = {n: r.reason for r in refusals(self._flow) for n in r.leaves}
        inputs, reach = self._flow.program.body.inputs, self._reacher.reach
        rest = "bias, gain or table: it takes the gradient that its node's signal gives"
        return {
            path: reasons.get(i) or (rest if reach.get(inputs[i]) else "not in the loss")
            for i, path in enumerate(self.leaves.names)
            if i not in self.feedback_leaves or i in reasons
        }

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Operations that apical cannot look into, with their lines."""
        return tuple(f"`{op.name}` at {op.where}" for op in unknowns(self._flow))

    @cached_property
    def has_convolution(self) -> bool:
        """Whether a synapse is a convolution (slow in a rolled loop on a CPU)."""
        return any(m.op.name == "conv_general_dilated" for m in self._live)

    def require_feedback(self) -> None:
        """Refuse if a leaf meets data where a second copy cannot be followed."""
        for refusal in refusals(self._flow):
            paths = ", ".join(self.leaves.names[i] for i in sorted(refusal.leaves))
            raise ValueError(
                f"Parameter {paths!r} cannot be given feedback at {refusal.op.where}: "
                f"{refusal.reason}."
            )
        if not self.feedback_leaves:
            raise ValueError(
                "No synapse was found: nothing in `params` meets data in a matrix "
                "product or a convolution, so there is no path for feedback."
            )

    def require_nodes(self) -> None:
        """Refuse if there is no node, or if a chain bypasses one."""
        if not self.nodes:
            raise ValueError(
                "No node was found: no activity that depends on `params` enters a "
                "synapse. Mark one with `apical.node`, or pass `nodes='every'`."
            )
        if not self.separated:
            raise ValueError(
                f"With nodes={self.setting.nodes!r} some synapse reaches more than one "
                "node or a node and the loss; this rule needs separated nodes: use "
                "nodes='entry'."
            )

    # ------------------------------------------------------------- parameters, values

    def learned(self, params: Any) -> Any:
        """The learned leaves in their tree, None in place of every other leaf."""
        return self.leaves.build(self.leaves.pick(params)[0])

    def merged(self, params: Any, learned: Any) -> Any:
        """The parameters with other learned leaves."""
        fixed = self.leaves.pick(params)[1]
        return self.leaves.build(self.leaves.pick(learned)[0], fixed)

    def zeros(self) -> dict[str, jax.Array]:
        """A zero for each node, of its shape."""
        return {n.name: jnp.zeros(n.shape, n.dtype) for n in self.nodes}

    # ----------------------------------------------------------------- evaluation

    def inputs(self, params: Any, args: tuple[Any, ...]) -> list[Any]:
        """The values of the program's inputs."""
        learned, fixed = self.leaves.pick(params)
        return [*learned, *fixed, *self._given.pick(args)[1]]

    def _plan(self, sites: Sequence[str], feedback: bool, with_gains: bool) -> Plan:
        wanted: dict[int, list[str]] = {}
        for number in self._numbers:
            name = self._names[number]
            if name in sites:
                wanted.setdefault(number, []).append(name)
            if drive_of(name) in sites:
                wanted.setdefault(self._drive(number), []).append(drive_of(name))
        if OUTPUT in sites:
            wanted.setdefault(self.output, []).append(OUTPUT)
        missing = set(sites) - {s for names in wanted.values() for s in names}
        if missing:
            known = ", ".join(repr(n.name) for n in self.nodes)
            raise ValueError(f"No site {sorted(missing)[0]!r}; the nodes are {known}.")
        return Plan(wanted, self._crossed(with_gains) if feedback else {})

    def _crossed(self, with_gains: bool) -> dict[int, tuple[int, int]]:
        every = [*self._found, *(self._gains if with_gains else [])]
        return {
            id(m.op): (i, m.weight) for i, m in enumerate(every) if m.weight is not None
        }

    def _drive(self, number: int) -> int:
        found = drive(self._flow, number)
        if found is None:
            raise ValueError(
                f"Node {self._names[number]!r} is not a nonlinearity of one activity, so "
                "it has no drive; pass nodes='unit' to keep the nodes that have one."
            )
        return found

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
          inject: values for the tap, by site: a node's name, `drive_of(name)`, or
            `"output"`. A node inside a loop has the loop's length in front.
          feedback: a second copy of the parameters (the same pytree; None where a leaf
            keeps its own) that only the backward path sees.
          backward: `backward(synapse, weight, copy)` gives what the backward path of a
            synapse goes through; by default the copy.
          gains: whether feedback also replaces the gains of normalisations.
          sites: which sites to visit; by default every node, and what is injected.
          parallel: evaluate the steps of a loop at once where every carry is clamped.

        Returns:
          `Run(loss, aux, sites)`; `sites` holds what was computed, before the tap.

        Raises:
          ValueError: for a site that does not exist, or feedback that does not fit.

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
        inject = {} if inject is None else dict(inject)
        wanted = [n.name for n in self.nodes] if sites is None else list(sites)
        wanted += [s for s in inject if s not in wanted]
        has_feedback = feedback is not None or backward is not None
        runner = Runner(
            self._flow,
            self._plan(wanted, has_feedback, gains),
            TAPS[tap] if isinstance(tap, str) else tap,
            inject,
            self._backward(backward) if has_feedback else None,
            parallel,
        )
        second = self._second(params, feedback) if has_feedback else []
        (loss, *aux), found = runner(self.inputs(params, args), second)
        return Run(loss, self._rebuild_aux(aux), found)

    def _backward(self, backward: Callable[..., Any] | None) -> Backward:
        if backward is None:
            return lambda number, weight, copy: copy
        found = [*self._found, *self._gains]
        every = make_synapses(self._flow, found, self.leaves.names)
        return lambda number, weight, copy: backward(every[number], weight, copy)

    def _second(self, params: Any, feedback: Any) -> list[Any]:
        """The second copy of each leaf; its own where none is given."""
        learned, _ = self.leaves.pick(params)
        if feedback is None:
            return list(learned)
        try:
            flat = self.leaves.treedef.flatten_up_to(feedback)
        except ValueError as error:
            raise ValueError(
                "`feedback` must have the same tree structure as `params`, with None "
                f"where a leaf has no copy: {error}"
            ) from error
        given = [flat[i] for i in self.leaves.learned]
        for path, leaf, copy in zip(self.leaves.names, learned, given, strict=True):
            if copy is not None and jnp.shape(copy) != jnp.shape(leaf):
                raise ValueError(
                    f"`feedback` for {path!r} has shape {jnp.shape(copy)}; the parameter "
                    f"has shape {jnp.shape(leaf)}."
                )
        pairs = zip(learned, given, strict=True)
        return [leaf if copy is None else copy for leaf, copy in pairs]

    def pull(
        self,
        params: Any,
        args: tuple[Any, ...],
        held: Mapping[str, Any],
        delta: Mapping[str, Any],
        *,
        loss: Any = 0.0,
    ) -> Any:
        """The local product: teaching signals pulled back through what made each node.

            gradient = d/d(params) [ loss * L + sum_n <delta_n, computed_n> ]

        with every node held, so that nothing passes through a node.

        Args:
          params: the parameters.
          args: the arguments after them.
          held: the value of each node that is held, by name.
          delta: the teaching signals, by site: a node's name (pulled back through its
            prediction), `drive_of(name)` (through its drive: no derivative of the
            nonlinearity) or `"output"`.
          loss: how much of the loss's own gradient to add (what the parameters after
            the last nodes take).

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
        learned, fixed = self.leaves.pick(params)

        def product(learned: Any) -> Any:
            here = self.leaves.build(learned, fixed)
            run = self.run(here, args, tap="clamp", inject=held, sites=list(delta))
            products = (jnp.vdot(delta[s], run.sites[s]).real for s in delta)
            return sum(products, start=loss * run.loss)

        return self.leaves.build(jax.grad(product)(learned))

    def examples(self, params: Any, args: tuple[Any, ...]) -> jax.Array:
        """One loss per example: `loss_fn` on a batch of one, for each.

        Returns:
          Losses, shape `[examples]`.

        Raises:
          ValueError: if their mean (or sum) is not the loss, as with batch
            normalisation. The check needs concrete values; under `jit` it is left out.

        Example:
          >>> import jax.numpy as jnp, apical
          >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
          >>> x = jnp.array([[1.0], [2.0]])
          >>> apical.trace(loss_fn)(jnp.ones((1, 1)), x).examples(jnp.ones((1, 1)), (x,))
          Array([1., 4.], dtype=float32)
        """
        losses = self._examples.losses(self.loss_fn, params, args)
        if is_concrete((losses, params, args)):
            result = self.loss_fn(params, *args)
            loss = result[0] if self.setting.has_aux else result
            self._examples.check(losses, loss)
        return losses

    @property
    def closes_over_tracers(self) -> bool:
        """Whether the loss function closes over values of a transformation around it."""
        return self._flow.program.closes_over_tracers

    @property
    def batch_size(self) -> int:
        """The number of examples, from the shapes of the arguments."""
        return self._examples.size

    @property
    def scale(self) -> int:
        """How many times larger an example's own gradient is than its share."""
        return self.batch_size if self.setting.reduction == "mean" else 1

    @cached_property
    def parallel(self) -> bool:
        """Whether some loop's steps are independent once its nodes are held."""
        sites = {n: [self._names[n]] for n in self._numbers}
        return any(
            parallel_carries(self._flow, sites, s.op)
            for s in walk(self._flow.program.body)
            if s.op.loop is not None
        )

    # ----------------------------------------------------------------------- view

    def __str__(self) -> str:
        return _view.table(self)

    def mermaid(self) -> str:
        """The circuit as a Mermaid flowchart."""
        return _view.mermaid(self)

"""One traced loss function: its structure, and how to evaluate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from . import _pretty_print
from ._analysis._dataflow import Flow
from ._analysis._products import Products
from ._analysis._synapses import Synapse, make_synapses
from ._batching._batch_axes import Examples
from ._batching._batched import Batched
from ._evaluate._control_flow import ENTER
from ._evaluate._interpreter import TAPS, Backward, Plan, Runner, Tap, find_tap
from ._evaluate._sharding import inner, zeros
from ._loss_spec import LossSpec
from ._marks import DRIVE, OUTPUT
from ._partition import Partition
from ._validation import (
    pick,
    require_copies,
    require_mapping,
    require_shapes,
    require_values,
)


class Run(NamedTuple):
    """What one evaluation gives: loss, aux, and the sites before the tap."""

    loss: jax.Array
    aux: Any
    sites: dict[str, jax.Array]


def drive_of(name: str) -> str:
    """The name of the drive site of a node."""
    return f"{name}{DRIVE}"


class Circuit(Batched):
    """The nodes and synapses found in one traced loss function.

    Made by `apical.trace`. `print(circuit)` shows it, `circuit.mermaid()` draws it;
    `run`, `pull` and `by_example` evaluate it.

    Attributes:
      nodes: every `Node`, in the order of the forward computation.
      synapses: every `Synapse`, in that order.
      reach: for each node, an `Edge` to each node, or the loss, that it reaches.
      separated: whether each synapse reaches exactly one node or the loss.
      depth: the largest number of nodes on a path to the loss.
    """

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        spec: LossSpec,
        flow: Flow,
        products: Products,
        leaves: Partition,
        given: Partition,
        rebuild_aux: Callable[[Any], Any],
        retrace: Callable[[Any, Any], Circuit],
    ) -> None:
        super().__init__(flow, products, leaves, given, spec)
        self.loss_fn, self.spec = loss_fn, spec
        self._rebuild_aux, self._retrace = rebuild_aux, retrace
        arrays = flow.program.body.inputs[len(leaves.learned) + len(leaves.arrays) :]
        self._examples = Examples(
            spec, given, [flow.program.shapes[n].shape for n in arrays]
        )

    # ------------------------------------------------------------- parameters, values

    def learned(self, params: Any) -> Any:
        """The learned leaves in their tree, None in place of every other leaf."""
        return self.leaves.combine(self.leaves.split(params)[0])

    def merged(self, params: Any, learned: Any) -> Any:
        """The parameters with other learned leaves."""
        fixed = self.leaves.split(params)[1]
        return self.leaves.combine(self.leaves.split(learned)[0], fixed)

    def zeros(self) -> dict[str, jax.Array]:
        """A zero for each node, of its shape."""
        return {self._names[n]: zeros(self._shape(n)) for n in self._numbers}

    # ----------------------------------------------------------------- evaluation

    def inputs(self, params: Any, args: tuple[Any, ...]) -> list[Any]:
        """The values of the program's inputs."""
        given = [*pick(self.leaves, params, "params"), *pick(self._given, args, "args")]
        program = self._flow.program
        shapes = [program.shapes[n].shape for n in program.body.inputs]
        require_shapes(given, shapes, self.leaves, self._given)
        return given

    def _plan(self, sites: Sequence[str], feedback: bool, with_gains: bool) -> Plan:
        wanted: dict[int, list[str]] = {}
        for number in self._numbers:
            name = self._names[number]
            if name in sites:
                wanted.setdefault(number, []).append(name)
            if drive_of(name) in sites:
                wanted.setdefault(self._drive(number), []).append(drive_of(name))
        if OUTPUT in sites:
            for number, name in zip(self.outputs, self.joined.names, strict=True):
                wanted.setdefault(number, []).append(name)
            sites = self.joined.sites(sites)
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
        if isinstance(sites, str):
            raise TypeError(f"`sites` must be a sequence of names: `({sites!r},)`.")
        inject = {} if inject is None else require_mapping(inject, "inject")
        wanted = [n.name for n in self.nodes] if sites is None else sites
        wanted = [*wanted, *(s for s in inject if s not in wanted)]
        has_feedback = feedback is not None or backward is not None
        plan = self._plan(wanted, has_feedback, gains)
        self._check_injected(inject, tap, plan)
        given, tapped = self._through_outputs(wanted, inject, find_tap(tap))
        runner = Runner(
            self._flow,
            plan,
            ENTER,
            tapped,
            given,
            self._backward(backward) if has_feedback else None,
            parallel,
        )
        second = self._second(params, feedback) if has_feedback else []
        (loss, *aux), found = runner(self.inputs(params, args), second)
        return Run(loss, self._rebuild_aux(aux), self._gathered(wanted, found))

    def _through_outputs(
        self, sites: Sequence[str], inject: Mapping[str, Any], tap: Tap | None
    ) -> tuple[Mapping[str, Any], Tap | None]:
        """What is injected and the tap, for each output apart."""
        if OUTPUT not in sites:
            return inject, tap
        return self.joined.spread(inject), self.joined.tap(tap)

    def _gathered(self, sites: Sequence[str], found: Mapping[str, Any]) -> Any:
        return self.joined.gathered(found) if OUTPUT in sites else dict(found)

    def _check_injected(
        self, inject: Mapping[str, Any], tap: str | Tap | None, plan: Plan
    ) -> None:
        """Refuse what the built-in taps could not put in; a function takes anything."""
        if inject and tap is None:
            raise ValueError(f"`inject` needs a `tap`: one of {sorted(TAPS)}.")
        if isinstance(tap, str):
            pairs = [(s, n) for n, names in plan.sites.items() for s in names]
            shapes = {site: self._shape(number).shape for site, number in pairs}
            shapes |= {OUTPUT: self.output_shape.shape} if OUTPUT in inject else {}
            require_values(inject, shapes, "inject")

    def _backward(self, backward: Callable[..., Any] | None) -> Backward:
        if backward is None:
            return lambda number, weight, copy: copy
        found = [*self._found, *self._gains]
        every = make_synapses(self._flow, self._products, found, self.leaves.names)
        return lambda number, weight, copy: backward(every[number], weight, copy)

    def _second(self, params: Any, feedback: Any) -> list[Any]:
        """The second copy of each leaf; its own where none is given."""
        learned, _ = self.leaves.split(params)
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
        require_copies(self.leaves.names, learned, given)
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
        """Evaluate once, and tell the loss of each example.

        Examples stay side by side, as `loss_fn` computes them: what the arguments hold
        of several of them (weights, a count of unmasked tokens, the key of a dropout)
        is what it is in the batch.

        Args:
          params: the parameters.
          args: the arguments after them.
          tap: as in `run`.
          inject: as in `run`.
          sites: which sites to visit.

        Returns:
          The `Run`, and `[examples + 1]` losses: those of the examples, whose mean (or
          sum) is what the loss says of single examples; the last is the whole loss. All
          are `scale` times their share.

        Raises:
          ValueError: where activities of several examples meet.
        """
        self.require_separate("A loss for each example")
        shares, given = self._shares, self.inputs(params, args)
        inject = {} if inject is None else dict(inject)
        wanted = dict.fromkeys([*sites, *inject])
        plan = Plan(shares.beside(self._plan(list(wanted), False, False).sites))
        spread, of_outputs = self._through_outputs([*wanted], inject, find_tap(tap))
        tapped = shares.tap(of_outputs)

        def network(added: Any) -> Any:
            every = {**spread, **added}
            runner = Runner(self._flow, plan, ENTER, tapped, every, None)
            (loss, *aux), found = runner(given, [])
            return loss, (self._rebuild_aux(aux), found)

        loss, pulled, (aux, found) = jax.vjp(network, shares.zeros, has_aux=True)
        (weights,) = pulled(jnp.ones_like(loss))
        numbers = zip(self._flow.program.body.inputs, given, strict=True)
        known = {**self._flow.program.constants, **dict(numbers)}
        each = shares.of_each(weights, found, known, loss)
        sites_found = self._gathered([*wanted], found)
        run = Run(loss, aux, {site: sites_found[site] for site in wanted})
        return run, self.scale * jnp.append(each, loss)

    def at_synapses(
        self,
        params: Any,
        args: tuple[Any, ...],
        send: Callable[[int, jax.Array], jax.Array],
    ) -> list[jax.Array]:
        """What each synapse gives where it reads something else than its input.

            y_i = op_i(send(i, x_i), W_i)

        Args:
          params: the parameters.
          args: the arguments after them.
          send: what synapse number `i` of `synapses` reads in place of its input `x`.

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
        numbers, sites, crossed = range(len(self._live)), {}, {}
        for i, meeting in enumerate(self._live):
            assert meeting.weight is not None
            sites[meeting.op.outputs[0]] = [str(i)]
            crossed[id(meeting.op)] = (i, meeting.weight)
        plan = Plan(sites, crossed)
        # Nothing but the synapse itself is differentiated.
        runner = Runner(self._flow, plan, ENTER, TAPS["stop"], {}, None, send=send)
        _, found = runner(self.inputs(params, args), [])
        return [found[str(i)] for i in numbers]

    @property
    def closes_over_tracers(self) -> bool:
        """Whether the loss function closes over values of an outer transformation."""
        return self._flow.program.closes_over_tracers

    # ----------------------------------------------------------------------- view

    def __str__(self) -> str:
        return _pretty_print.table(self)

    def mermaid(self) -> str:
        """The circuit as a Mermaid flowchart."""
        return _pretty_print.mermaid(self)

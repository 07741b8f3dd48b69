"""Evaluation of a circuit: sites, taps, feedback weights, per-example losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from .._argument_checks import require_copies, require_mapping, require_values
from .._batching._batch import Batch
from .._marks import OUTPUT, drive_of, output_of
from .._structure import Structure
from ._control_flow import ENTER
from ._interpreter import Backward, Plan, Runner
from ._taps import TAPS, Tap, find_tap


class Run(NamedTuple):
    """The result of one evaluation: loss, aux, and values at sites before the tap."""

    loss: jax.Array
    aux: Any
    sites: dict[str, jax.Array]


class EnteredLoops(Protocol):
    """The loops that are not evaluated as the others are.

    Attributes:
      ids: the scans, by identity.
      traces_after: what is returned beside the user's `aux`; None for nothing.
      enter: evaluates a scan.
    """

    @property
    def ids(self) -> frozenset[int]: ...

    @property
    def traces_after(self) -> Any: ...

    def enter(
        self, runner: Runner, op: Any, scope: Any, inject: Any
    ) -> Sequence[Any]: ...


class Evaluator:
    """Evaluates the program of a structure.

    Args:
      structure: the structure of the loss function.
      batch: its batch.
      rebuild_aux: rebuilds the user's `aux` from its arrays.
      loops: the loops that have an evaluation of their own.
    """

    def __init__(
        self,
        structure: Structure,
        batch: Batch,
        rebuild_aux: Callable[[Any], Any],
        loops: EnteredLoops | None = None,
    ) -> None:
        self.structure, self.batch, self._rebuild_aux = structure, batch, rebuild_aux
        self._loops = loops
        self._enter = ENTER if loops is None else {**ENTER, "scan": loops.enter}

    def with_loops(self, loops: EnteredLoops) -> Evaluator:
        """An evaluator whose loops are evaluated otherwise."""
        return Evaluator(self.structure, self.batch, self._rebuild_aux, loops)

    def rebuild_aux(self, aux: Any) -> Any:
        """The user's `aux`, paired with the traces after the loops if there are any."""
        found = self._rebuild_aux(aux)
        after = None if self._loops is None else self._loops.traces_after
        return found if after is None else (found, after)

    def run(
        self,
        inputs: Sequence[Any],
        *,
        tap: str | Tap | None,
        inject: Mapping[str, Any] | None,
        feedback: Sequence[Any] | None,
        backward: Callable[..., Any] | None,
        gains: bool,
        sites: Sequence[str] | None,
        parallel: bool,
    ) -> Run:
        """Evaluate once, as `Circuit.run`; `feedback` is a second copy of each leaf."""
        if isinstance(sites, str):
            raise TypeError(f"`sites` must be a sequence of names: `({sites!r},)`.")
        inject = {} if inject is None else require_mapping(inject, "inject")
        wanted = [n.name for n in self.structure.nodes] if sites is None else sites
        wanted = [*wanted, *(s for s in inject if s not in wanted)]
        crossed = {} if feedback is None else self._crossed(gains)
        loops = frozenset[int]() if self._loops is None else self._loops.ids
        plan = Plan(self._sites(wanted), crossed, loops)
        self._require_injectable(inject, tap, plan)
        given, tapped = self._through_outputs(wanted, inject, find_tap(tap))
        runner = Runner(
            self.structure.flow,
            plan,
            self._enter,
            tapped,
            given,
            None if feedback is None else self._backward(backward),
            parallel,
        )
        (loss, *aux), found = runner(inputs, feedback or [])
        return Run(loss, self.rebuild_aux(aux), self._gathered(wanted, found))

    def by_example(
        self,
        inputs: Sequence[Any],
        tap: str | Tap | None,
        inject: Mapping[str, Any] | None,
        sites: Sequence[str],
    ) -> tuple[Run, jax.Array]:
        """Evaluate once, with the loss of each example; see `Circuit.by_example`."""
        structure, losses = self.structure, self.batch.per_example_loss
        inject = {} if inject is None else dict(inject)
        wanted = list(dict.fromkeys([*sites, *inject]))
        plan = Plan(losses.beside(self._sites(wanted)))
        spread, of_outputs = self._through_outputs(wanted, inject, find_tap(tap))
        tapped = losses.tap(of_outputs)

        def network(added: Any) -> Any:
            every = {**spread, **added}
            runner = Runner(structure.flow, plan, ENTER, tapped, every, None)
            (loss, *aux), found = runner(inputs, [])
            return loss, (self.rebuild_aux(aux), found)

        loss, pulled, (aux, found) = jax.vjp(network, losses.zeros, has_aux=True)
        (weights,) = pulled(jnp.ones_like(loss))
        program = structure.flow.program
        numbers = zip(program.body.inputs, inputs, strict=True)
        known = {**program.constants, **dict(numbers)}
        each = losses.of_each(weights, found, known, loss)
        gathered = self._gathered(wanted, found)
        run = Run(loss, aux, {site: gathered[site] for site in wanted})
        return run, self.batch.scale * jnp.append(each, loss)

    def at_synapses(
        self, inputs: Sequence[Any], send: Callable[[int, jax.Array], jax.Array]
    ) -> list[jax.Array]:
        """The output of each synapse for another input; see `Circuit.at_synapses`."""
        live, sites, crossed = self.structure.live_ops, {}, {}
        for i, synapse in enumerate(live):
            assert synapse.weight is not None
            sites[synapse.op.outputs[0]] = [str(i)]
            crossed[id(synapse.op)] = (i, synapse.weight)
        # Only the synapse itself is differentiated.
        runner = Runner(
            self.structure.flow,
            Plan(sites, crossed),
            ENTER,
            TAPS["stop"],
            {},
            None,
            send=send,
        )
        _, found = runner(inputs, [])
        return [found[str(i)] for i in range(len(live))]

    # ---- Sites.

    def _sites(self, sites: Sequence[str]) -> dict[int, list[str]]:
        """The names of the sites of each variable.

        Raises:
          ValueError: for a site that does not exist.
        """
        structure = self.structure
        wanted: dict[int, list[str]] = {}
        for number, name in structure.names.items():
            if name in sites:
                wanted.setdefault(number, []).append(name)
            if drive_of(name) in sites:
                drive = structure.drive(number)
                wanted.setdefault(drive, []).append(drive_of(name))
        for i, synapse in enumerate(structure.live_ops):
            if output_of(i) in sites:  # before the node, which it may be
                wanted.setdefault(synapse.op.outputs[0], []).insert(0, output_of(i))
        if OUTPUT in sites:
            outputs = self.batch.outputs
            for number, name in zip(structure.outputs, outputs.names, strict=True):
                wanted.setdefault(number, []).append(name)
            sites = outputs.sites(sites)
        missing = set(sites) - {s for names in wanted.values() for s in names}
        if missing:
            known = ", ".join(repr(name) for name in structure.names.values())
            raise ValueError(f"No site {sorted(missing)[0]!r}; the nodes are {known}.")
        return wanted

    def _through_outputs(
        self, sites: Sequence[str], inject: Mapping[str, Any], tap: Tap | None
    ) -> tuple[Mapping[str, Any], Tap | None]:
        """The injected values and the tap, for each output separately."""
        if OUTPUT not in sites:
            return inject, tap
        return self.batch.outputs.spread(inject), self.batch.outputs.tap(tap)

    def _gathered(self, sites: Sequence[str], found: Mapping[str, Any]) -> Any:
        return self.batch.outputs.gathered(found) if OUTPUT in sites else dict(found)

    def _require_injectable(
        self, inject: Mapping[str, Any], tap: str | Tap | None, plan: Plan
    ) -> None:
        """Raise for values that built-in taps cannot inject."""
        if inject and tap is None:
            raise ValueError(f"`inject` needs a `tap`: one of {sorted(TAPS)}.")
        if isinstance(tap, str):
            pairs = [(s, n) for n, names in plan.sites.items() for s in names]
            shapes = {site: self.structure.shape(n).shape for site, n in pairs}
            if OUTPUT in inject:
                shapes[OUTPUT] = self.batch.outputs.shape.shape
            require_values(inject, shapes, "inject")

    # ---- Feedback.

    def feedback_values(self, params: Any, feedback: Any) -> list[Any]:
        """The second copy of each learned leaf; its own value if none is given."""
        leaves = self.structure.leaves
        learned, _ = leaves.split(params)
        if feedback is None:
            return list(learned)
        try:
            flat = leaves.treedef.flatten_up_to(feedback)
        except ValueError as error:
            raise ValueError(
                "`feedback` must have the same tree structure as `params`, with None "
                f"where a leaf has no copy: {error}"
            ) from error
        given = [flat[i] for i in leaves.learned]
        require_copies(leaves.names, learned, given)
        pairs = zip(learned, given, strict=True)
        return [leaf if copy is None else copy for leaf, copy in pairs]

    def _crossed(self, with_gains: bool) -> dict[int, tuple[int, int]]:
        """The operations with a second weight, and the position of the weight."""
        structure = self.structure
        gains = structure.gain_ops if with_gains else []
        every = enumerate([*structure.weighted_ops, *gains])
        return {id(m.op): (i, m.weight) for i, m in every if m.weight is not None}

    def _backward(self, backward: Callable[..., Any] | None) -> Backward:
        if backward is None:
            return lambda number, weight, copy: copy
        structure = self.structure
        every = structure.described([*structure.weighted_ops, *structure.gain_ops])
        return lambda number, weight, copy: backward(every[number], weight, copy)

"""`locality`: what the update of each parameter needs, measured in two ways.

* Static: over the program of the gradients and the new state, what reaches each value.
* Copies: the same program run with several copies of the parameters, one changed.

A static "no" is a proof of absence, and a "yes" of the copies a proof of presence.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ...circuit import is_concrete
from ...rules import Backpropagation
from ...rules._learner import Learner
from .._learner_argument import takes_learner
from ._interventions import FORWARD, REST, SECOND, Interventions
from ._needs import decided_needs
from ._result import Hops, LeafLocality, Locality
from ._update_program import UpdateProgram
from ._values import Value

_TRANSPORTS = ("reverse", "gain", "direct")
_LEVELS = ("sign", "scale-free", "full")


@takes_learner
def locality(
    learner: Learner,
    params: Any,
    state: Any,
    *args: Any,
    longer: tuple[Any, ...] | None = None,
) -> Locality:
    """Measure what the update of each parameter needs to know.

    The gradients and the new state of one call are traced, with a mark on every use of
    a weight by the forward computation. Two passes over this program follow:

        none  <=  no path from the weight, in the traced program
        full, scale-free, sign  <=  another bit of the update, with a changed copy

    Args:
      learner: what `apical.value_and_grad` returned, or `step.learner` of a training
        step: the loss function, its description and the rule.
      params: the parameters. Random weights show more than special ones: a path
        through a weight of 0 is not seen.
      state: the rule's state, of `learner.init` or `state.rule` of a training step.
      *args: the other arguments of the loss function.
      longer: for a network with a loop over time, the same arguments with a sequence
        of twice as many steps: what loops keep and carry there is measured too, and
        whether it grows. Rules that work in chunks of steps keep one chunk: give both
        sequences several whole ones.

    Returns:
      A `Locality`: a row for each leaf, `.needs` in the words of `Rule.needs`, and
      `.mismatches` with those that the rule declares.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.
      ValueError: inside of `jax.jit`; for a leaf whose gradient by backpropagation is
        0: units that are off show nothing; for `longer` without a loop, or of another
        number of arguments.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> keys = jax.random.split(jax.random.key(0), 4)
      >>> w = {"a": jax.random.normal(keys[0], (3, 4))}
      >>> w["b"] = jax.random.normal(keys[1], (4, 2))
      >>> x, y = jnp.sin(jnp.arange(15.0)).reshape(5, 3), jnp.ones((5, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.Backpropagation())
      >>> found = apical.measure.locality(learner, w, (), x, y)
      >>> [(row.name, row.transport, row.locked) for row in found.rows]
      [('a', 'full', 'yes'), ('b', 'none', 'none')]
      >>> found.rows[0].of, found.mismatches
      (('b',), ())
    """
    if not is_concrete((params, state, args)):
        raise ValueError(
            "`apical.measure.locality` compares the bits of real calls: call it "
            "outside of `jax.jit`, `jax.vmap` and `jax.grad`, with arrays for "
            "`params`, `state` and data."
        )
    update = UpdateProgram(learner, params, state, args)
    if not learner.rule.derivative_free:
        _require_alive(learner, params, args)
    more = None
    if longer is not None:
        _check_longer(update, longer, len(args))
        more = UpdateProgram(learner, params, state, longer)  # traced, and not run
    return _Measurement(learner, update, more).result()


def _check_longer(update: UpdateProgram, longer: Any, count: int) -> None:
    if not update.circuit.has_loop:
        raise ValueError(
            "`longer` is for a network with a loop over time (`lax.scan`), and this "
            "loss function has none: leave it out."
        )
    if not isinstance(longer, tuple) or len(longer) != count:
        raise ValueError(
            f"`longer` must be a tuple of the arguments that follow `state`, of which "
            f"there are {count}, with a longer sequence."
        )


def _require_alive(learner: Learner, params: Any, args: tuple[Any, ...]) -> None:
    """Refuse leaves that backpropagation, the positive control, does not move."""
    exact = learner.with_rule(Backpropagation())
    circuit = exact.circuit(params, *args)
    grads = jax.jit(lambda *a: exact.credit(a[0], (), *a[1:]).grads)(params, *args)
    for name, grad in zip(
        circuit.leaves.names, circuit.leaves.split(grads)[0], strict=True
    ):
        if not np.any(np.asarray(grad)):
            raise ValueError(
                f"Backpropagation's gradient of {name!r} is 0 here, so that nothing "
                "can be seen: its units are off, or the loss does not depend on it. "
                "Measure at other (random) parameters or data."
            )


class _Measurement:
    """The rows of one update program."""

    def __init__(
        self, learner: Learner, update: UpdateProgram, longer: UpdateProgram | None
    ) -> None:
        self.learner, self.update, self.longer = learner, update, longer
        self.names = update.leaves.names
        self.count = len(self.names)
        self.runs = Interventions(update)
        runs, leaves = self.runs, range(self.count)
        self.rest = [runs.levels(REST, k) for k in leaves]
        self.forward = [runs.depends(FORWARD, k) for k in leaves]
        self.second = [
            runs.depends(SECOND, k) if self._reached("second", k) else []
            for k in leaves
        ]
        self.slopes, self.reads = runs.slopes(), runs.reads_output()
        self.ranks, self.coupled = runs.ranks(), runs.coupled()
        self.crossings = runs.crossings()

    def result(self) -> Locality:
        update, rule = self.update, self.learner.rule
        rows = tuple(self.row(leaf) for leaf in range(self.count))
        found = {
            "hops_per_round": update.hops_per_round,
            "state_both_ways": update.both_ways,
            "state_learns": self.state_learns(),
            "backward_in_time": self.backward_in_time(),
            "derivatives": update.derivatives,
            "outputs": update.outputs,
        }
        unknown = frozenset[str]().union(*(v.unknown for v in update.of_grads))
        return Locality(
            rule=type(rule).__name__,
            rows=rows,
            declared=tuple(rule.needs),
            unknown=tuple(sorted(unknown)),
            measured=decided_needs(
                rows,
                moves_in_rounds=rule.coupled and update.hops_per_round is not None,
                **found,
            ),
            **found,
        )

    def row(self, leaf: int) -> LeafLocality:
        """What the update of one leaf needs."""
        value, update = self.update.of_grads[leaf], self.update
        transport, through, of = self.transport(leaf, value)
        locked, by = self.locked(leaf, value)
        distance = update.distance(leaf)
        numbers = [value.hops[n] for n in ("label*", "output*") if n in value.hops]
        return LeafLocality(
            name=self.names[leaf],
            shape=tuple(np.shape(update.learned[leaf])),
            transport=transport,
            through=through,
            of=tuple(self.names[k] for k in of),
            gains=self.gains(leaf, value),
            copied=self.copied(leaf),
            second=self.second_signal(leaf, value),
            locked=locked,
            locked_by=tuple(self.names[k] for k in by),
            distance=None if distance is None else distance[0],
            label=_hops(value, "label"),
            output=_hops(value, "output"),
            label_number=(
                Hops(min(n[0] for n in numbers), max(n[1] for n in numbers))
                if numbers
                else None
            ),
            reads_output=self.reads[leaf],
            crossings=self.crossings[leaf] if self.reads[leaf] else 0,
            rank=self.ranks[leaf],
            depth=value.depth,
            values=update.values(leaf),
            held=value.gap,
            apart=value.apart,
            stored_bytes=update.bytes_of(value, "stack"),
            carried_bytes=update.bytes_of(value, "carry"),
            longer_bytes=self.longer_bytes(leaf),
            slopes=tuple(n for n, changed in self.slopes.items() if changed[leaf]),
            possible_slopes=tuple(n for n in self.slopes if n in value.slopes),
            coupled=self.coupled[leaf],
            state_bytes=update.bytes_of(value, "feedback"),
        )

    # ---- Weight transport.

    def _found(self, value: Value, leaf: int) -> dict[int, set[str]]:
        """The channels by which each leaf's weights reach a value, not of its own."""
        found: dict[int, set[str]] = {}
        for seen in value.seen:
            if seen.channel in _TRANSPORTS:
                found.setdefault(seen.source.leaf, set()).add(seen.channel)
        for source in value.raw:
            if source.tree == "params" and source.leaf != leaf:
                found.setdefault(source.leaf, set()).add("direct")
        return found

    def transport(
        self, leaf: int, value: Value
    ) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
        """The level, the channels and the leaves of weight transport to a leaf."""
        found = {
            k: channels
            for k, channels in self._found(value, leaf).items()
            if channels != {"gain"}
        }
        levels = {k: self.rest[k][leaf] for k in found}
        if levels.get(leaf) is not None and not self.runs.reads_others(leaf):
            del found[leaf], levels[leaf]  # each synapse reads its own weight
        seen = {k: level for k, level in levels.items() if level is not None}
        self._agree(leaf, {k for k, each in enumerate(self.rest) if each[leaf]}, value)
        if seen:
            channels = set[str]().union(*(found[k] for k in seen))
            through = tuple(c for c in _TRANSPORTS if c in channels)
            return max(seen.values(), key=_LEVELS.index), through, tuple(sorted(seen))
        if value.unknown:
            return "unknown", (), ()
        return ("not seen" if found else "none"), (), ()

    def _agree(self, leaf: int, changed: set[int], value: Value) -> None:
        """The copies must not see what the static pass excludes."""
        own = {s.leaf for s in value.raw if s.tree == "params"}
        extra = changed - set(self._found(value, leaf)) - own
        if extra and not value.unknown:
            names = ", ".join(self.names[k] for k in sorted(extra))
            raise RuntimeError(
                f"The two passes disagree: the update of {self.names[leaf]!r} changed "
                f"with the weights {names}, which the static pass excluded. This is "
                "an error of apical: please report it with this loss function."
            )

    def gains(self, leaf: int, value: Value) -> str:
        """The level at which elementwise gains reach the update of a leaf."""
        found = [k for k, c in self._found(value, leaf).items() if c == {"gain"}]
        levels = [each for k in found if (each := self.rest[k][leaf]) is not None]
        if levels:
            return max(levels, key=_LEVELS.index)
        return "unknown" if value.unknown else "not seen" if found else "none"

    def copied(self, leaf: int) -> str:
        """What of a leaf's weights enters the new state."""
        after = list(enumerate(self.update.of_state, start=self.count))
        found = [
            i
            for i, value in after
            if any(s.leaf == leaf and s.tree == "params" for s in value.raw)
            or any(
                s.channel in ("reverse", "direct") and s.source.leaf == leaf
                for s in value.seen
            )
        ]
        levels = [each for i in found if (each := self.rest[leaf][i]) is not None]
        if levels:
            return max(levels, key=_LEVELS.index)
        if any(value.unknown for _, value in after):
            return "unknown"
        return "not seen" if found else "none"

    # ---- Locking and forward mode.

    def locked(self, leaf: int, value: Value) -> tuple[str, tuple[int, ...]]:
        """Whether the update of a leaf depends on the weights above it."""
        above = self.update.above[leaf]
        reached = {
            seen.source.leaf
            for seen in value.seen
            if seen.source.tree == "params" and seen.source.leaf in above
        }
        by = [k for k in sorted(reached) if self.forward[k][leaf] or self.rest[k][leaf]]
        if by:
            return "yes", tuple(by)
        if value.unknown:
            return "unknown", ()
        return ("not seen" if reached else "none"), ()

    def second_signal(self, leaf: int, value: Value) -> str:
        """Whether a second signal passes forward weights on the way to an update."""
        reached = {s.source.leaf for s in value.seen if s.channel == "second"}
        if any(self.second[k][leaf] for k in reached):
            return "yes"
        return "unknown" if value.unknown else "not seen" if reached else "none"

    def _reached(self, channel: str, leaf: int) -> bool:
        return any(
            seen.channel == channel and seen.source.leaf == leaf
            for value in self.update.of_grads
            for seen in value.seen
        )

    # ---- The state, and loops.

    def longer_bytes(self, leaf: int) -> tuple[int, int] | None:
        """What loops over the longer sequence keep, and what they carry."""
        if self.longer is None:
            return None
        value, bytes_of = self.longer.of_grads[leaf], self.longer.bytes_of
        return bytes_of(value, "stack"), bytes_of(value, "carry")

    def state_learns(self) -> bool:
        """Whether feedback weights in the state change with what was computed."""
        return any(
            (value.signal or value.seen) and i in self.update.feedback
            for i, value in enumerate(self.update.of_state)
        )

    def backward_in_time(self) -> bool | None:
        """Whether a loop runs backwards; None without a loop in the network."""
        if not self.update.circuit.has_loop:
            return None
        return any(
            seen.channel == "backward"
            for value in self.update.of_grads
            for seen in value.seen
        )


def _hops(value: Value, name: str) -> Hops | None:
    found = value.hops.get(name)
    return None if found is None else Hops(*found)

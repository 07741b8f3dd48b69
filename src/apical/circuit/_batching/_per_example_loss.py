"""Per-example losses, from the sums over examples in a loss.

    L = b + sum_k <c_k, y_k>,     y_k = sum_i y_ki,     L_i = sum_k <c_k, y_ki>

y_k is a sum over examples (`Sum`), y_ki the term of example i, and c_k a coefficient
that does not depend on activities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._analysis._dataflow import Flow
from .._evaluate._sharding import gathered, zeros
from .._evaluate._taps import Tap
from .._jaxpr import Literal
from .._marks import INTERNAL
from ._example_position import unfolded, unfolded_axis
from ._example_separation import Sum

Sites = dict[int, list[str]]


class PerExampleLoss:
    """The sums over examples of one program, as sites of an evaluation.

    Attributes:
      added: the shape of each sum, by the name of its site.
      sites: the names of the sites of each value, by variable.
    """

    def __init__(self, flow: Flow, sums: Sequence[Sum], shapes: Any, count: int):
        self.flow, self.sums, self.count = flow, list(sums), count
        self.added = {_sum(k): shapes(s.op.outputs[0]) for k, s in enumerate(sums)}
        self.sites: Sites = {}
        for k, each in enumerate(self.sums):
            self.sites.setdefault(each.op.outputs[0], []).append(_sum(k))
            for i, atom in enumerate(each.op.inputs):
                if not isinstance(atom, Literal) and atom in flow.maker:
                    self.sites.setdefault(atom, []).append(_operand(k, i))

    @property
    def zeros(self) -> dict[str, jax.Array]:
        """Zero offsets of the sums."""
        return {n: zeros(s) for n, s in self.added.items()}

    def beside(self, sites: Mapping[int, Sequence[str]]) -> Sites:
        """Other sites, followed by these: sums are read after other taps."""
        found = {n: list(names) for n, names in self.sites.items()}
        for number, names in sites.items():
            own = found.get(number, [])
            first = [n for n in own if n in self.added]
            found[number] = [*first, *names, *(n for n in own if n not in first)]
        return found

    def tap(self, given: Tap | None) -> Tap:
        """A tap for other sites that also adds to the sums."""
        ours = {name for names in self.sites.values() for name in names}

        def tapped(site: str, computed: Any, injected: Any) -> Any:
            if site in ours:
                return computed if injected is None else computed + injected
            return computed if given is None else given(site, computed, injected)

        return tapped

    def of_each(
        self,
        weights: Mapping[str, Any],
        found: Mapping[str, Any],
        inputs: Mapping[int, Any],
        loss: jax.Array,
    ) -> jax.Array:
        """The loss of every example.

        Args:
          weights: c_k, by the name of a sum.
          found: the values at the sites.
          inputs: the values of the program's inputs and constants, by variable.
          loss: the whole loss, used for a single example.
        """
        if self.count == 1:
            return loss[None]
        wide = jnp.promote_types(loss.dtype, jnp.float32)
        total = jnp.zeros(self.count, wide)
        for k, each in enumerate(self.sums):
            operands = [
                a.value
                if isinstance(a, Literal)
                else found.get(_operand(k, i), inputs.get(a))
                for i, a in enumerate(each.op.inputs)
            ]
            total += self._shares(each, weights[_sum(k)], operands)
        return total

    def _shares(self, each: Sum, weight: Any, operands: list[Any]) -> jax.Array:
        def products(weight: Any, *operands: Any) -> jax.Array:
            def added(summed: Any) -> Any:
                here = [*operands]
                here[each.operand] = summed
                return each.op(*here)[0]

            summed = operands[each.operand]
            (back,) = jax.vjp(added, summed)[1](weight)
            return summed * back

        every = products
        for _ in range(each.loops):
            every = jax.vmap(every)
        found = every(weight, *operands)
        found = found.reshape(unfolded(each.place, found.shape, self.count))
        axis = unfolded_axis(each.place)
        return gathered(jnp.sum(found, [a for a in range(found.ndim) if a != axis]))


def _sum(k: int) -> str:
    return f"{INTERNAL}sum {k}"


def _operand(k: int, i: int) -> str:
    return f"{INTERNAL}operand {k} {i}"

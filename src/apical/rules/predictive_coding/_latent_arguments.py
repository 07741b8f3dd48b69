"""Latent arguments: inferred with the values, as causes or missing parts of the data.

    E(v, u) = sum_n pi_n |v_n - p_n(v, u)|^2 / 2 + pull L(v, u)

    v <- v - rate dE/dv,      u <- u - rate mask dE/du

The entries of the arguments u that a mask marks as free descend the energy. With a free
cause of the data the network is generative (Rao & Ballard 1999); with a part of the
data free it is an associative memory (Salvatori et al. 2021). With the errors in place
of the values, v_n = p_n(v, u) + e_n, a change of u changes all values below it at once:

    E(e, u) = sum_n pi_n |e_n|^2 / 2 + pull L(v(e, u), u)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import beside, inner, require_arguments
from .._adaptive_step_size import ExampleAxis, PerExample
from .._numerics import NodeArrays, upcast
from ._energy import AbstractEnergy, EnergyTerms, Settled
from ._free_prediction import ErrorSpaceEnergy, FreePredictionEnergy, loss_at

# A pytree prefix of the arguments with True, False or arrays of these; or a function
# of the arguments that returns one.
FreeArguments = tuple[Any, ...] | Callable[..., Any]


class NodesAndArguments(NamedTuple):
    """A point of inference: the nodes' values or errors, and the free arguments."""

    nodes: NodeArrays
    arguments: list[jax.Array]


class ArgumentMasks:
    """Which entries of which arguments are free.

    Args:
      free: the argument `free` of `PredictiveCoding`; None: no argument is free.
      args: the arguments after `params`.

    Raises:
      ValueError: if `free` does not fit the arguments, frees numbers that are not
        floating-point, or frees nothing.
    """

    def __init__(self, free: FreeArguments | None, args: tuple[Any, ...]) -> None:
        self.args = args
        self.masks: dict[int, jax.Array] = {}
        if free is None:
            return
        leaves = jax.tree.leaves(args)
        paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(args)]
        for i, mask in enumerate(_spread(free, args)):
            if isinstance(mask, bool) and not mask:
                continue
            self.masks[i] = _fitting(mask, leaves[i], f"args{paths[i]}")
        if not self.masks:
            raise ValueError(
                "`free` frees no argument: give True (or an array of True and False) "
                "for one of them, or leave `free` at None."
            )

    @property
    def given(self) -> list[jax.Array]:
        """The arguments that are free, or partly free, as given.

        Free entries that are NaN, as missing data often are, become 0.
        """
        leaves = jax.tree.leaves(self.args)
        pairs = ((jnp.asarray(leaves[i]), mask) for i, mask in self.masks.items())
        return [jnp.where(mask & jnp.isnan(x), 0, x) for x, mask in pairs]

    def filled(self, arguments: list[Any]) -> tuple[Any, ...]:
        """All arguments, with the free entries replaced by these values."""
        leaves, treedef = jax.tree.flatten(self.args)
        for (i, mask), new in zip(self.masks.items(), arguments, strict=True):
            leaves[i] = jnp.where(mask, new, leaves[i])
        return jax.tree.unflatten(treedef, leaves)

    def kept(self, arguments: list[jax.Array]) -> list[jax.Array]:
        """The values at free entries; 0 elsewhere."""
        pairs = zip(self.masks.values(), arguments, strict=True)
        return [jnp.where(mask, x, 0) for mask, x in pairs]


@dataclass(frozen=True)
class _LatentEnergy(AbstractEnergy):
    """An energy whose points are pairs of nodes and free arguments.

    Attributes:
      masks: which entries of the arguments are free.
      guess: the initial values of free arguments; None: as given.
    """

    masks: ArgumentMasks
    guess: list[jax.Array] | None = None

    @property
    def first(self) -> list[jax.Array]:
        """The free arguments as given or guessed."""
        return self.masks.given if self.guess is None else self.guess

    @property
    def by_example(self) -> PerExample:
        """Inner products of points, for each example."""
        layout = NodesAndArguments(*_layout(self.terms, self.masks))
        return PerExample(layout).or_whole_batch

    def terms_at(self, arguments: list[jax.Array]) -> EnergyTerms:
        """The terms of the energy, with these free arguments."""
        return self.terms._replace(args=self.masks.filled(arguments))


@dataclass(frozen=True)
class LatentArgumentEnergy(_LatentEnergy):
    """The energy with free predictions; its points are values and arguments."""

    @property
    def start(self) -> NodesAndArguments:
        """The free arguments as given or guessed, and the feed-forward values."""
        return self._start

    @cached_property
    def _start(self) -> NodesAndArguments:
        first = self.first
        return NodesAndArguments(self._at(first).start, first)

    @property
    def in_error_space(self) -> LatentErrorSpaceEnergy:
        """The same energy as a function of the errors and the free arguments."""
        return LatentErrorSpaceEnergy(self.terms, self.masks, self.guess)

    def _at(self, arguments: list[jax.Array]) -> FreePredictionEnergy:
        return FreePredictionEnergy(self.terms_at(arguments))

    def energy(self, point: NodesAndArguments, step: Any = None) -> jax.Array:
        """E, summed over the examples."""
        terms, args = self.terms, self.masks.filled(point.arguments)
        run = self.circuit.run(
            terms.params, args, tap="clamp", inject=point.nodes, parallel=True
        )
        errors = {n: v - run.sites[n] for n, v in point.nodes.items()}
        weighted = terms.weighted(errors, step)
        halves = (inner(weighted[n], e) / 2 for n, e in errors.items())
        return sum(halves, start=terms.pull * self.circuit.scale * run.loss)

    def slope(self, point: NodesAndArguments, step: Any = None) -> NodesAndArguments:
        """dE/dv, and dE/du where u is free."""
        found = jax.grad(self.energy)(point, step)
        return found._replace(arguments=self.masks.kept(found.arguments))

    def settled(self, point: NodesAndArguments, residual: Any, steps: Any) -> Settled:
        """The result of inference; the loss is evaluated at the inferred arguments."""
        end = self._at(point.arguments)
        found = end.settled(point.nodes, residual, steps)
        return found._replace(arguments=end.terms.args)


@dataclass(frozen=True)
class LatentErrorSpaceEnergy(_LatentEnergy):
    """The same energy as a function of the errors and the free arguments."""

    @property
    def start(self) -> NodesAndArguments:
        """Errors of 0, and the free arguments as given or guessed."""
        return NodesAndArguments(upcast(self.circuit.zeros()), self.first)

    @property
    def in_error_space(self) -> LatentErrorSpaceEnergy:
        """The energy itself."""
        return self

    def slope(self, point: NodesAndArguments, step: Any = None) -> NodesAndArguments:
        """dE/de = pi e plus the total derivative of the loss; dE/du where u is free."""

        def loss(errors: NodeArrays, arguments: list[jax.Array]) -> jax.Array:
            return loss_at(self.terms_at(arguments), errors)

        pulled, found = jax.grad(loss, argnums=(0, 1))(*point)
        weighted = self.terms.weighted(point.nodes, step)
        factor = self.terms.pull * self.circuit.scale
        return NodesAndArguments(
            jax.tree.map(lambda e, p: e + factor * p, weighted, pulled),
            [factor * x for x in self.masks.kept(found)],
        )

    def settled(self, point: NodesAndArguments, residual: Any, steps: Any) -> Settled:
        """The result of inference; the loss is evaluated at the inferred arguments."""
        terms = self.terms_at(point.arguments)
        found = ErrorSpaceEnergy(terms).settled(point.nodes, residual, steps)
        return found._replace(arguments=terms.args)


def _layout(terms: EnergyTerms, masks: ArgumentMasks) -> tuple[Any, Any]:
    """The axes of the examples of the nodes and of the free arguments."""
    batch = terms.circuit.batch
    axes = dict(zip(batch.structure.args.arrays, batch.examples.axes, strict=True))
    pairs = ((axes.get(i), mask) for i, mask in masks.masks.items())
    found = [
        ExampleAxis(mask.shape, None if axis is None else axis % mask.ndim)
        for axis, mask in pairs
    ]
    return PerExample.of(terms.circuit).layout, found


def _spread(free: FreeArguments, args: tuple[Any, ...]) -> list[Any]:
    """The mask of each leaf of the arguments."""
    if callable(free):
        require_arguments(
            free,
            args,
            f"`free` cannot be called with the {len(args)} arguments after `params`: "
            "write it as `free=lambda x, y: (True, False)`, without `params`",
        )
        free = free(*args)
    found: list[Any] = []
    try:
        jax.tree.map(
            lambda mask, below: found.extend([mask] * len(jax.tree.leaves(below))),
            free,
            args,
        )
    except ValueError as error:
        raise ValueError(
            "`free` must be a tuple with one entry (True, False, an array of these, or "
            f"a pytree) for each of the {len(args)} arguments after `params`, or a "
            f"function of them that returns one: {error}"
        ) from error
    return found


def _fitting(mask: Any, leaf: Any, path: str) -> jax.Array:
    """The mask of a leaf; raises if it does not fit."""
    if not jnp.issubdtype(jnp.result_type(mask), jnp.bool_):
        raise ValueError(
            f"`free` has {jnp.result_type(mask)} for {path}, and a mask is True where "
            "an entry is free and False where it is given."
        )
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`free` frees {path}, which is {dtype}: only floating-point numbers can "
            "be inferred. (Labels that are numbers of classes: hand in their "
            "probabilities, `jax.nn.one_hot(labels, classes)`.)"
        )
    try:
        jnp.broadcast_shapes(jnp.shape(mask), jnp.shape(leaf))
        return beside(jnp.broadcast_to(mask, jnp.shape(leaf)), leaf)
    except ValueError as error:
        raise ValueError(
            f"`free` has a mask of shape {jnp.shape(mask)} for {path}, which has shape "
            f"{jnp.shape(leaf)}."
        ) from error

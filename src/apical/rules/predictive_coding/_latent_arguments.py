"""Arguments that are inferred: what generates the data, or what of it is missing.

    E(v, u) = sum_n pi_n |v_n - p_n(v, u)|^2 / 2 + pull L(v, u)

    v <- v - rate dE/dv,      u <- u - rate mask dE/du

Arguments u descend the energy of the values where a mask says that they are free. With
a free cause above the data the network is generative (Rao & Ballard 1999); with a part
of the data free it completes and recalls (Salvatori et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, inner, require_arguments
from .._checks import check_transformation
from .._numerics import fold_in_name, squared_norm
from .._optimizers import apply_optimizer, begun
from ._energy import Settled, Terms, Values
from ._free_prediction import Free
from .inference._gradient_descent import Stage

# A pytree prefix of the arguments with True, False or arrays of these; or a function
# of the arguments that returns one.
FreeArguments = tuple[Any, ...] | Callable[..., Any]


class Point(NamedTuple):
    """Where inference stands: the values of the nodes, and the free arguments."""

    values: Values
    arguments: list[jax.Array]


class Masks:
    """Which entries of which arguments are free.

    Args:
      free: as `PredictiveCoding` was given it; None: none is.
      args: the arguments after `params`.

    Raises:
      ValueError: where it does not fit the arguments, or frees what is not a
        floating-point number, or nothing.
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
        """The arguments that are free, or free in part, as they were given.

        Where a free entry is not a number, as missing data often are, it is 0.
        """
        leaves = jax.tree.leaves(self.args)
        pairs = ((jnp.asarray(leaves[i]), mask) for i, mask in self.masks.items())
        return [jnp.where(mask & jnp.isnan(x), 0, x) for x, mask in pairs]

    def filled(self, arguments: list[Any]) -> tuple[Any, ...]:
        """All arguments, with these in place of the free entries."""
        leaves, treedef = jax.tree.flatten(self.args)
        for (i, mask), new in zip(self.masks.items(), arguments, strict=True):
            leaves[i] = jnp.where(mask, new, leaves[i])
        return jax.tree.unflatten(treedef, leaves)

    def kept(self, arguments: list[jax.Array]) -> list[jax.Array]:
        """What belongs to free entries; 0 elsewhere."""
        pairs = zip(self.masks.values(), arguments, strict=True)
        return [jnp.where(mask, x, 0) for mask, x in pairs]


@dataclass(frozen=True)
class FreeWithArguments:
    """The energy with free predictions; its points are values and arguments."""

    terms: Terms
    masks: Masks
    start_from: list[jax.Array] | None = None

    @property
    def circuit(self) -> Circuit:
        """Of the loss function."""
        return self.terms.circuit

    @cached_property
    def start(self) -> Point:
        """The free arguments as they were given, and the feed-forward values."""
        guess = self.masks.given if self.start_from is None else self.start_from
        return Point(self._at(guess).start, guess)

    def _at(self, arguments: list[jax.Array]) -> Free:
        return Free(self.terms._replace(args=self.masks.filled(arguments)))

    def energy(self, point: Point, tick: Any = None) -> jax.Array:
        """E, summed over the examples."""
        terms, args = self.terms, self.masks.filled(point.arguments)
        run = self.circuit.run(
            terms.params, args, tap="clamp", inject=point.values, parallel=True
        )
        errors = {n: v - run.sites[n] for n, v in point.values.items()}
        weighted = terms.weighted(errors, tick)
        halves = (inner(weighted[n], e) / 2 for n, e in errors.items())
        return sum(halves, start=terms.pull * self.circuit.scale * run.loss)

    def slope(self, point: Point, tick: Any = None) -> Point:
        """dE/dv, and dE/du where u is free."""
        found = jax.grad(self.energy)(point, tick)
        return found._replace(arguments=self.masks.kept(found.arguments))

    def stages(self, steps: int) -> list[Stage]:
        """All steps alike: a free argument may pull everywhere at once."""
        return [(self.slope, steps)]

    def settled(self, point: Point, residual: Any, steps: Any) -> Settled:
        """Where inference ended; the loss is that of the arguments as filled in."""
        end = self._at(point.arguments)
        found = end.settled(point.values, residual, steps)
        return found._replace(arguments=end.terms.args)


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
    """A mask of a leaf, or refuse."""
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
        return jnp.broadcast_to(mask, jnp.shape(leaf))
    except ValueError as error:
        raise ValueError(
            f"`free` has a mask of shape {jnp.shape(mask)} for {path}, which has shape "
            f"{jnp.shape(leaf)}."
        ) from error


# ---- Amortised starts: a network guesses what inference will find, and learns from it.
#
#     u_0 = g(x; psi),      psi descends  |g(x; psi) - u_T|^2 / 2
#
# where u_T are the free arguments after T steps. Tschantz et al. 2023 (hybrid
# predictive
# coding); there the guesses of a bottom-up pass are those of every layer, here the
# values
# of all nodes follow from the guessed arguments by the forward pass.


class AmortisedState(NamedTuple):
    """The weights of the network that guesses, and the state of what moves them."""

    weights: Any
    optimizer: Any


@dataclass(frozen=True)
class AmortisedStart:
    """Start the free arguments where a network guesses that they will end.

    Args:
      network: an object with `init(key, *args)`, which returns weights, and
        `apply(weights, *args)`, which returns a guess of the free argument, or a tuple
        of one guess for each free leaf, in order. flax modules are such objects. It is
        called with the arguments as they are given.
      optimizer: any optax transformation, that moves the weights once in each call.

    Example:
      >>> import jax, jax.numpy as jnp, optax, apical
      >>> class Linear:
      ...     def init(self, key, z, x):
      ...         return jnp.zeros((x.shape[-1], z.shape[-1]))
      ...     def apply(self, weights, z, x):
      ...         return x @ weights
      >>> def loss_fn(w, z, x):
      ...     return 0.5 * jnp.sum((jnp.tanh(z @ w["a"]) @ w["b"] - x) ** 2) / len(x)
      >>> rule = apical.rules.PredictiveCoding(
      ...     prediction="free",
      ...     free=(True, False),
      ...     amortised=apical.rules.AmortisedStart(Linear(), optax.adam(1e-2)),
      ... )
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> w = {"a": jnp.eye(2), "b": jnp.ones((2, 3))}
      >>> z, x = jnp.zeros((4, 2)), jnp.ones((4, 3))
      >>> state = learner.init(jax.random.key(0), w, z, x)
      >>> state = learner(w, state, z, x).state
      >>> bool(jnp.any(state.amortised.weights != 0))
      True

    Source: Tschantz, Millidge, Seth & Buckley 2023, PLOS Computational Biology 19.
    """

    network: Any
    optimizer: optax.GradientTransformation

    citation: ClassVar[str] = (
        "@article{tschantz2023hybrid, title={Hybrid Predictive Coding: Inferring,"
        " Fast and Slow}, author={Tschantz, Alexander and Millidge, Beren and "
        "Seth, Anil K. and Buckley, Christopher L.}, journal={PLOS Computational "
        "Biology}, volume={19}, year={2023}}"
    )

    def __post_init__(self) -> None:
        check_transformation(self.optimizer, "optimizer")
        for name in ("init", "apply"):
            if not callable(getattr(self.network, name, None)):
                raise TypeError(
                    "`network` must have `init(key, *args)` and `apply(weights, "
                    f"*args)`; a {type(self.network).__name__} has no `{name}`."
                )

    def init(self, key: jax.Array, masks: Masks) -> AmortisedState:
        """The network's own start; refuses guesses that do not fit."""
        own = fold_in_name(key, "apical.AmortisedStart")
        weights = self.network.init(own, *masks.args)
        found = jax.eval_shape(lambda: self._guess(weights, masks))
        shapes, wanted = ([x.shape for x in each] for each in (found, masks.given))
        if shapes != wanted:
            raise ValueError(
                f"`network.apply` guesses arrays of shapes {shapes}, and the free "
                f"arguments have {wanted}."
            )
        return AmortisedState(weights, begun(self.optimizer, weights))

    def guess(self, state: AmortisedState, masks: Masks) -> list[jax.Array]:
        """Where the free arguments start."""
        return self._guess(state.weights, masks)

    def _guess(self, weights: Any, masks: Masks) -> list[jax.Array]:
        found = self.network.apply(weights, *masks.args)
        return list(found) if isinstance(found, (tuple, list)) else [found]

    def learned(
        self, state: AmortisedState, masks: Masks, found: tuple[Any, ...], share: float
    ) -> AmortisedState:
        """One step towards the arguments as they were found, averaged over examples."""
        leaves = jax.tree.leaves(found)
        ends = [jax.lax.stop_gradient(leaves[i]) for i in masks.masks]

        def distance(weights: Any) -> jax.Array:
            guesses = self._guess(weights, masks)
            apart = [g - e for g, e in zip(guesses, ends, strict=True)]
            return share * squared_norm(masks.kept(apart)) / 2

        slope = jax.grad(distance)(state.weights)
        moved = apply_optimizer(self.optimizer, slope, state.optimizer, state.weights)
        return AmortisedState(*moved)

"""Local losses: every block learns by an objective that stands at its own end.

    minimise, at the end n of each block,      l_n = (1 - beta) pred_n + beta sim_n

    pred_n = L(s_n P_n)                        the loss, of the node's own read-out
    sim_n  = <(S(s_n R_n) - S(y*))^2>          are examples alike that should be?

and what stands above reads s_n as a constant: no gradient crosses a block. Nøkland &
Eidnes 2019 (one layer to a block), Belilovsky et al. 2019 (several).
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...circuit import OUTPUT, Circuit, gathered, require_reduction
from .._axes import AxisMap, Layout, as_outputs, of_output, output_table
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._checks import check_choice, check_fraction, check_transformation, check_whole
from .._numerics import fold_in_name, wide
from .._optimizers import begun
from .._validation import target_of
from ._blocks import ReadoutState, Walled, draw_readouts, ends_of, moved

# ---- The similarity objective: examples alike in their targets should be alike in a
# node.
#
#     l_n = <(S(s_n R_n) - S(y*))^2>,       S_ij = cos(x_i - mean x_i, x_j - mean x_j)
#
# with the mean over all pairs of examples. With U and V the centred rows of the node
# and
# of the target, each of length 1, S are U U^T and V V^T, and
#
#     N^2 l_n = |U^T U|^2 - 2 |U^T V|^2 + |V^T V|^2
#
# is the same with matrices as large as there are columns, however many examples there
# are. Nøkland & Eidnes 2019, equations 2 and 3.

# Below the square of what a row can be for its direction to mean anything.
_NOTHING = 1e-12


def directions(rows: jax.Array) -> jax.Array:
    """Each row, centred and of length 1: their products are the similarities."""
    centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
    size = jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(size + _NOTHING)


def similarity(
    layouts: dict[str, tuple[Layout, AxisMap]],
    target: jax.Array,
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """For each node its distance to the target's, summed over turns."""
    found = {}
    for name, (layout, wiring) in layouts.items():
        wanted = directions(wide(output_table(wiring, target)))
        here = directions(wide(layout.table(values[name]) @ readouts[name]))
        apart = _crossed(here, here) - 2 * _crossed(here, wanted)
        apart += _crossed(wanted, wanted)
        found[name] = jnp.sum(apart) / float(layout.rows) ** 2
    return found


def _crossed(one: jax.Array, other: jax.Array) -> jax.Array:
    """The squared norm of `one^T other`, for each turn."""
    # Summed over the examples, which may lie on several devices.
    product = jnp.swapaxes(gathered(one), -1, -2) @ gathered(other)
    return jnp.sum(jnp.square(product), axis=(-1, -2))


# ---- The prediction objective: the loss itself, read from a node's own read-out.
#
#     l_n = L(y_n),      y_n = s_n R_n      in place of the output
#
# so that a cross-entropy is a cross-entropy and a squared error a squared error.
# Nøkland
# & Eidnes 2019, equation 1; Belilovsky, Eickenberg & Oyallon 2019.


def prediction(
    circuit: Circuit,
    params: Any,
    args: Any,
    layouts: dict[str, tuple[Layout, AxisMap]],
    values: dict[str, jax.Array],
    readouts: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    """For each node the loss of its own output, summed over the turns of its loops."""
    shape = circuit.output_shape
    learned, fixed = circuit.leaves.split(params)
    params = circuit.leaves.combine(jax.lax.stop_gradient(learned), fixed)

    def head(output: jax.Array) -> jax.Array:
        run = circuit.run(params, args, tap="clamp", inject={OUTPUT: output}, sites=())
        return run.loss

    outputs = [
        as_outputs(wiring, layout.table(values[n]) @ readouts[n], shape.shape)
        for n, (layout, wiring) in layouts.items()
    ]
    # All nodes at once, so that the way to the output is traced once (and is dead).
    losses = jax.vmap(head)(jnp.concatenate(outputs).astype(shape.dtype))
    ends = list(accumulate(len(each) for each in outputs))
    parts = jnp.split(losses, ends[:-1])
    return {n: jnp.sum(part) for n, part in zip(layouts, parts, strict=True)}


_NAME = "LocalLosses"


class Objectives(NamedTuple):
    """Diagnostics: the objective at the end of each block, by node."""

    objective: dict[str, jax.Array]


@rule
class LocalLosses(Rule):
    """Teach each block by a loss of its own, read from the node at its end.

        l_n = (1 - balance) L(s_n P_n) + balance <(S(s_n R_n) - S(y*))^2>

    L is the loss function, with the node's own output in place of the network's; S are
    the cosines between centred rows, over all pairs of examples. `"prediction"` and
    `"similarity"` have one of the terms alone. What reads a node takes it as a
    constant, so that a block's update is the same whatever stands above it; parameters
    after the last node take the true gradient. What the loss reads of a node itself (a
    penalty on activity) is added to that node's objective.

    Blocks are counted in nodes, in the order of the forward computation. A gradient
    travels freely inside a block, through time too where a recurrence has no end in it.
    With one node to a block nothing travels through time, and each turn of a loop has
    its own objective, by one read-out.

    Read-outs are matrices `[units, columns]` without biases, uniform within
    1/sqrt(units) at first; all axes of a node but the examples' and the output's steps
    are units. The source begins the prediction's at zero, pools large pictures before
    it and convolves before the similarity.

    State: the read-outs, and the state of their optimiser.

    Args:
      balance: how much the similarity counts where there are both.
      objective: `"prediction"`, `"similarity"` or `"both"`.
      blocks: how many nodes stand in a block, or the names of the nodes that end one.
      readout: `"learned"`, along the same objectives, or `"fixed"` as drawn.
      columns: of the similarity's read-out, at most as many as a node has units; the
        source has as many, which costs more than the network itself.
      optimizer: what the read-outs learn by, an optax transformation; None: Adam at
        1e-3. Its gradients are those of a mean over examples.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule, y = apical.rules.LocalLosses(readout="fixed"), jnp.zeros((3, 1))
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> grads = learner(w, state, x, y).grads
      >>> above = {**w, "b": -w["b"]}  # other weights above, the same update below
      >>> bool(jnp.all(learner(above, state, x, y).grads["a"] == grads["a"]))
      True

    Raises:
      ValueError: in `init`, where there is no output; where a gradient would cross
        a block; without `target=`, for a similarity.

    It comes close to backpropagation where layers are wide; narrow layers throw away
    early what later ones would need, and no error comes back to tell them.

    Source: Nøkland & Eidnes 2019, ICML; Belilovsky, Eickenberg & Oyallon 2019, ICML.
    """

    balance: float = 0.99
    objective: str = static(default="prediction")
    blocks: Any = static(default=1)
    readout: str = static(default="learned")
    columns: int = static(default=32)
    optimizer: optax.GradientTransformation | None = static(default=None)

    citation: ClassVar[str] = (
        "@inproceedings{nokland2019training, title={Training Neural Networks with "
        "Local Error Signals}, author={N{\\o}kland, Arild and Eidnes, Lars Hiller}, "
        "booktitle={ICML}, year={2019}}"
    )
    search_space: ClassVar[SearchSpace] = {"balance": (0.5, 0.999, "linear")}

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """What the blocks and the read-outs need: those that learn are transported."""
        found = ["derivative of the nonlinearity", "signed error units"]
        found.append("labels in every layer")
        if self.blocks != 1:
            found += ["separate phases", "stored activities", "update locking"]
        if self.blocks != 1 or self.readout == "learned":
            found.insert(0, "weight transport")
        if self.readout == "learned":
            found.append("second network")
        return tuple(found)

    def __post_init__(self) -> None:
        check_fraction(self.balance, "balance")
        objectives = ("prediction", "similarity", "both")
        check_choice(self.objective, "objective", objectives)
        check_choice(self.readout, "readout", ("learned", "fixed"))
        check_whole(self.columns, "columns")
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")
        if isinstance(self.blocks, (list, tuple)):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        elif isinstance(self.blocks, str):
            raise TypeError(
                "`blocks` must be a whole number, or a tuple of the names of nodes, as "
                f"({self.blocks!r},), not {self.blocks!r}."
            )
        else:
            check_whole(self.blocks, "blocks")

    @property
    def _uses(self) -> tuple[str, ...]:
        return (
            ("prediction", "similarity")
            if self.objective == "both"
            else (self.objective,)
        )

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return self.optimizer or optax.adam(1e-3)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the blocks, and draw a read-out for the end of each."""
        circuit.require_layers_apart()
        circuit.require_output()
        require_reduction(circuit, params, args)
        found = self._layouts(circuit)
        if "similarity" in self._uses:
            self._require_pairs(circuit, found, target_of(circuit, args, _NAME))
        shapes = {}
        for name, (layout, wiring) in found.items():
            every = {
                "prediction": wiring.size,
                "similarity": (layout.units, min(layout.units, self.columns)),
            }
            shapes[name] = {use: every[use] for use in self._uses}
        dtypes = {name: layout.dtype for name, (layout, _) in found.items()}
        own = fold_in_name(key, f"apical.{_NAME}")
        weights = draw_readouts(own, shapes, dtypes)
        learned = self.readout == "learned"
        return ReadoutState(weights, begun(self._optimizer, weights) if learned else ())

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward pass, and one backward pass inside each block."""
        found = self._walled(circuit, params, args).taught(state.weights)
        if self.readout == "learned":
            state = moved(circuit, self._optimizer, state, found.readouts)
        info = Objectives(found.objectives)
        return Credit(found.run.loss, found.run.aux, found.grads, state, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The gradient of a block's objective, at each of its nodes."""
        walled = self._walled(circuit, params, args)
        values, teaching = walled.signals(state.weights)
        return {n: Signal(v, v, teaching[n]) for n, v in values.items()}

    def _walled(self, circuit: Circuit, params: Any, args: Any) -> Walled:
        """The walls at the ends of the blocks, with what is minimised there."""
        found = self._layouts(circuit)

        def objectives(values: Any, readouts: Any) -> dict[str, jax.Array]:
            by_use = {u: {n: readouts[n][u] for n in found} for u in self._uses}
            terms = []
            for use, own in by_use.items():
                if use == "prediction":
                    each = prediction(circuit, params, args, found, values, own)
                    weight = 1 - self.balance
                else:
                    target = target_of(circuit, args, _NAME)
                    each = similarity(found, target, values, own)
                    # A mean over pairs; of a loss that is a sum, one for each example.
                    size = circuit.batch_size / circuit.scale
                    each = {n: size * s for n, s in each.items()}
                    weight = self.balance
                terms.append((weight if len(by_use) > 1 else 1.0, each))
            return {
                n: sum((w * each[n] for w, each in terms), start=jnp.zeros(()))
                for n in found
            }

        return Walled(circuit, params, args, tuple(found), objectives)

    def _layouts(self, circuit: Circuit) -> Any:
        ends, found = ends_of(circuit, self.blocks), of_output(circuit, _NAME)
        return {n: found[n] for n in ends}

    def _require_pairs(self, circuit: Circuit, found: Any, target: jax.Array) -> None:
        rows = min([layout.rows for layout, _ in found.values()] or [0])
        columns = min([wiring.size[1] for _, wiring in found.values()] or [0])
        if rows < 2 or columns < 2:
            raise ValueError(
                f"A similarity compares examples by what their targets are, and "
                f"`target` gives {np.shape(target)}: {rows} rows of {columns} numbers. "
                "It needs two of each; use objective='prediction'."
            )

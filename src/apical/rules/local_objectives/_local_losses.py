"""Local losses: each block of nodes minimises an objective at its own end.

    l_n = (1 - beta) pred_n + beta sim_n       at the end n of each block

    pred_n = L(s_n P_n)                        the loss of a read-out of the node
    sim_n  = <(S(s_n R_n) - S(y*))^2>          the similarity of examples

The next block reads s_n as a constant: no gradient crosses the end of a block. Nøkland
& Eidnes 2019 (one layer in a block), Belilovsky et al. 2019 (several).
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...circuit import Circuit, require_reduction
from .._axis_maps import AxisMap, axis_maps, require_real_nodes
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._call_checks import target_of
from .._field_checks import (
    check_choice,
    check_fraction,
    check_transformation,
    check_whole,
)
from .._inner_optimizers import init_optimizer
from .._numerics import fold_in_name
from ..feedback._feedback_weights import through_feedback
from ._block_objectives import prediction, similarity
from ._blocks import BlockObjectives, block_ends
from ._readouts import ReadoutState, draw_readouts, update_readouts

_NAME = "LocalLosses"


class Objectives(NamedTuple):
    """Diagnostics: the objective at the end of each block, by node."""

    objective: dict[str, jax.Array]


@rule
class LocalLosses(Rule):
    """Train each block by a local loss, computed from the node at its end.

        l_n = (1 - balance) L(s_n P_n) + balance <(S(s_n R_n) - S(y*))^2>

    L is the loss function, with the read-out of the node in place of the network's
    output; S are the cosines between centred rows, over all pairs of examples.
    `"prediction"` and `"similarity"` use one of the terms alone. Consumers of a block
    read it as a constant, so that its update does not depend on the blocks above;
    parameters after the last node take the true gradient. Terms of the loss that read a
    node directly (a penalty on activity) are added to that node's objective.

    Blocks are counted in nodes, in the order of the forward computation. Inside a block
    gradients pass as usual, also through time if no block ends within the recurrence.
    With one node per block no gradient passes through time, and each turn of a loop has
    its own objective, with a shared read-out.

    Read-outs are matrices `[units, columns]` without biases, uniform within
    1/sqrt(units) at first; all axes of a node except those of the examples and of the
    output's steps are units. The source initialises the prediction's read-out at zero,
    pools large images before it, and convolves before the similarity.

    State: the read-outs, and the state of their optimiser.

    Args:
      balance: beta, the weight of the similarity if both terms are used.
      objective: `"prediction"`, `"similarity"` or `"both"`.
      blocks: the number of nodes in a block, or the names of the nodes that end one.
      readout: `"learned"` (on the same objectives), or `"fixed"` at its initial value.
      columns: the number of columns of the similarity's read-out, at most the node's
        units; the source has one per unit, which costs more than the network itself.
      optimizer: an optax transformation that trains the read-outs; None: Adam at 1e-3.
        Its gradients are of a mean over examples.

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
      ValueError: in `init`, if there is no output; if a gradient would cross the end of
        a block; without `target=`, for a similarity.

    With wide layers its accuracy is close to that of backpropagation. Narrow layers
    discard information that later ones need, and no error corrects that.

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
        """The needs of blocks and read-outs (learned ones transport weights)."""
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
        circuit.require_layers_apart(or_flat=isinstance(self.blocks, int))
        if circuit.nodes:
            circuit.require_output()
        require_reduction(circuit, params, args)
        found = self._axes(circuit)
        if "similarity" in self._uses:
            _require_pairs(found, target_of(circuit, args, _NAME))
        shapes = {}
        for name, axes in found.items():
            units = axes.unit_count
            every = {
                "prediction": (units, axes.column_count),
                "similarity": (units, min(units, self.columns)),
            }
            shapes[name] = {use: every[use] for use in self._uses}
        dtypes = {name: axes.dtype for name, axes in found.items()}
        own = fold_in_name(key, f"apical.{_NAME}")
        weights = draw_readouts(own, shapes, dtypes)
        learned = self.readout == "learned"
        return ReadoutState(
            weights, init_optimizer(self._optimizer, weights) if learned else ()
        )

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward pass, and one backward pass inside each block."""
        if not circuit.nodes:
            alone = through_feedback(circuit, params, args, state)
            return alone._replace(info=Objectives({}))
        found = self._blocks(circuit, params, args).gradients(state.weights)
        if self.readout == "learned":
            state = update_readouts(circuit, self._optimizer, state, found.readouts)
        info = Objectives(found.objectives)
        return Credit(found.run.loss, found.run.aux, found.grads, state, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The gradient of a block's objective, at each of its nodes."""
        if not circuit.nodes:
            return {}
        blocks = self._blocks(circuit, params, args)
        values, teaching = blocks.signals(state.weights)
        return {n: Signal(v, v, teaching[n]) for n, v in values.items()}

    def _blocks(self, circuit: Circuit, params: Any, args: Any) -> BlockObjectives:
        """The circuit with this rule's objectives at the ends of the blocks."""
        found = self._axes(circuit)

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
                    # A mean over pairs; times the number of examples if the loss is a
                    # sum.
                    devices = circuit.batch_size / circuit.batch.size
                    size = circuit.batch_size / circuit.scale / devices**2
                    each = {n: size * s for n, s in each.items()}
                    weight = self.balance
                terms.append((weight if len(by_use) > 1 else 1.0, each))
            return {
                n: sum((w * each[n] for w, each in terms), start=jnp.zeros(()))
                for n in found
            }

        return BlockObjectives(circuit, params, args, tuple(found), objectives)

    def _axes(self, circuit: Circuit) -> dict[str, AxisMap]:
        """The axes of the node at the end of each block."""
        if not circuit.nodes:
            return {}
        ends, found = block_ends(circuit, self.blocks), axis_maps(circuit)
        require_real_nodes(circuit, _NAME)
        return {n: found[n] for n in ends}


def _require_pairs(found: dict[str, AxisMap], target: jax.Array) -> None:
    rows = min([axes.row_count for axes in found.values()] or [0])
    columns = min([axes.column_count for axes in found.values()] or [0])
    if rows < 2 or columns < 2:
        raise ValueError(
            f"A similarity compares the targets of pairs of examples, and "
            f"`target` gives {np.shape(target)}: {rows} rows of {columns} numbers. "
            "It needs two of each; use objective='prediction'."
        )

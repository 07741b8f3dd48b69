"""Recirculation: the response to the reconstruction minus that to the input.

    h1 = rho(W v0)          the input              y  = o(h1)     its reconstruction
    v2 = r v0 + (1 - r) y   the second round       h3 = rho(W v2)

    do = h1 (y - v0)^T,     dW = (h3 - h1) v2^T / (1 - r)

Only activities are transmitted: the error of a unit is the change of its activity from
one round to the next. Hinton & McClelland 1988.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, Run, drive_of, require_reduction
from .._base import Credit, Rule, SearchSpace, Signal, rule
from .._call_checks import SQUARED_ERROR, inputs_of, matching, with_inputs
from .._field_checks import check_fraction

_NAME = "Recirculation"


class Rounds(NamedTuple):
    """The two rounds, the arguments of the second, and the error of the output."""

    first: Run
    second: Run
    args: tuple[Any, ...]
    error: jax.Array


@rule
class Recirculation(Rule):
    """Present the reconstruction as the input, and learn from the changes.

        v2 = regression v0 + (1 - regression) y
        dtheta = [ <h3_n - h1_n, dz_n/dtheta(v2)> / (1 - regression)
                   + <y - v0, dz_y/dtheta(h1)> ] of each example, reduced as the loss is

    For networks whose output reconstructs their input (the argument named by
    `input_argnums=`). There is no backward pass and no derivative of a nonlinearity,
    and no unit receives the error of another. If the encoder's weights are the
    decoder's transposed and the output is linear, it tends to backpropagation of half
    the squared error, mean(sum((y - v0)^2)) / 2, as regression -> 1, with an error of
    O(1 - regression). With other weights it is not a gradient, but learning by gradient
    descent with weight decay aligns them. (Twelve inputs, three hidden units: loss
    0.50, with backpropagation 0.44; without decay the weights eventually diverge; with
    Adam, which scales each entry, they do not align: loss 2.0.) The loss function is
    reported but not minimised.

    With several hidden layers, each compares its activity in the two rounds. The rule
    was designed for one hidden layer: with more, the change of an encoder unit is not
    the signal that the decoder would send back.

    Args:
      regression: the fraction of the input in the second round, from 0 to below 1. The
        closer to 1, the smaller the differences between the rounds.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean(jnp.sum((jnp.tanh(x @ w) @ w.T - x) ** 2, axis=1)) / 2
      >>> w, x = jnp.array([[0.5, 0.1], [0.2, 0.3]]), jnp.ones((3, 2))
      >>> rule = apical.rules.Recirculation(regression=0.99)
      >>> learner = apical.value_and_grad(loss_fn, rule, input_argnums=0)
      >>> grads = learner(w, learner.init(jax.random.key(0), w, x), x).grads
      >>> bool(jnp.allclose(grads, jax.grad(loss_fn)(w, x), rtol=0.05))
      True

    Raises:
      ValueError: in `init`, without nodes, one output and `input_argnums=`; if a node
        is not a nonlinearity of one drive; if the output does not have the input's
        shape.

    Source: Hinton & McClelland 1988, Learning representations by recirculation, Neural
    Information Processing Systems.
    """

    regression: float = 0.75

    citation: ClassVar[str] = (
        "@inproceedings{hinton1988learning, title={Learning Representations by "
        "Recirculation}, author={Hinton, Geoffrey E. and McClelland, James L.}, "
        "booktitle={Neural Information Processing Systems}, year={1988}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "stored activities",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"regression": (0.5, 0.99, "linear")}
    nodes: ClassVar[str] = "unit"
    descends: ClassVar[str] = SQUARED_ERROR

    def __post_init__(self) -> None:
        check_fraction(self.regression, "regression")
        if isinstance(self.regression, (int, float)) and self.regression == 1:
            raise ValueError(
                "`regression` must be below 1: at 1 nothing changes from the first "
                "round to the second."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that the network reconstructs its input."""
        del key
        circuit.require_nodes()
        circuit.require_output()
        _ = circuit.scale
        require_reduction(circuit, params, args)
        for node in circuit.nodes:
            if not node.unit:
                raise ValueError(
                    f"{_NAME} compares the drives of units, and node {node.name!r} "
                    f"({node.where}) is not a nonlinearity of one drive. Leave "
                    "`nodes=` at 'unit', and mark only the values of nonlinearities."
                )
        _reconstructed(circuit, args)
        return ()

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Two rounds; the local products of the changes and of the output's error."""
        found = self._rounds(circuit, params, args)
        last, share = circuit.output_node, 1 / circuit.scale
        errors = {drive_of(last) if last else OUTPUT: share * found.error}
        held = _nodes(circuit, found.first)
        decoded = circuit.pull(params, args, held, errors)
        changed = {drive_of(n): d for n, d in self._changes(circuit, found).items()}
        held = _nodes(circuit, found.second)
        encoded = circuit.pull(params, found.args, held, changed)
        grads = jax.tree.map(jnp.add, decoded, encoded)
        return Credit(found.first.loss, found.first.aux, grads, state, ())

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The squared error of the reconstruction."""
        del state
        last = circuit.output_node
        drive = OUTPUT if last is None else drive_of(last)
        sites = circuit.run(params, args, sites=(OUTPUT, drive)).sites
        wanted = _reconstructed(circuit, args)
        return matching(circuit, sites[drive], sites[OUTPUT], wanted)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values in the second round and in the first; teaching: their difference."""
        del state
        found = self._rounds(circuit, params, args)
        return {
            n: Signal(found.second.sites[n], found.first.sites[n], change)
            for n, change in self._changes(circuit, found).items()
        }

    def _changes(self, circuit: Circuit, found: Rounds) -> dict[str, jax.Array]:
        """The gradient at the drive of each hidden unit: (h3 - h1) / (1 - r)."""
        share = 1 / (circuit.scale * (1 - jnp.asarray(self.regression)))
        before, after = found.first.sites, found.second.sites
        hidden = [n for n in _nodes(circuit, found.first) if n != circuit.output_node]
        return {
            n: (share * (after[n] - before[n])).astype(before[n].dtype) for n in hidden
        }

    def _rounds(self, circuit: Circuit, params: Any, args: Any) -> Rounds:
        x = _reconstructed(circuit, args)
        sites = [*(n.name for n in circuit.nodes), OUTPUT]
        first = circuit.run(params, args, sites=sites)
        error = first.sites[OUTPUT] - x
        mixed = (x + (1 - jnp.asarray(self.regression)) * error).astype(x.dtype)
        again = with_inputs(circuit, args, (mixed,))
        return Rounds(first, circuit.run(params, again, sites=sites), again, error)


def _nodes(circuit: Circuit, run: Run) -> dict[str, jax.Array]:
    return {n.name: run.sites[n.name] for n in circuit.nodes}


def _reconstructed(circuit: Circuit, args: Any) -> jax.Array:
    """The input; refuses one that does not have the output's shape."""
    inputs = inputs_of(circuit, args, _NAME)
    output = circuit.output_shape.shape
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if len(inputs) != 1 or shapes != [output]:
        raise ValueError(
            f"{_NAME} presents the output as the input, so `input_argnums` must "
            f"name one array of the output's shape, {output}; it names {shapes}."
        )
    return jnp.asarray(inputs[0])

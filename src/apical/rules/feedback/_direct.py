"""What the rules have in common that send something to every node directly.

    delta_n = scale B_n s + dL/dn,      dW_n = the pull-back of delta_n,

with s what is sent (an error, a target), B_n fixed and random, and dL/dn what the loss
reads of the node itself (a penalty on activity; mostly 0), not through the output.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import OUTPUT, Circuit, beside, require_reduction, zeros
from .._axes import axis_maps
from .._base import Credit, SearchSpace, Signal, cited, rule, static
from .._checks import check_choice, check_positive
from .._connections import ConnectedRule, FeedbackState
from .._numerics import fold_in_name, wide
from .._validation import target_of

FRENKEL = (
    "@article{frenkel2021learning, title={Learning Without Feedback: Fixed Random "
    "Learning Signals Allow for Feedforward Training of Deep Neural Networks}, "
    "author={Frenkel, Charlotte and Lefebvre, Martin and Bol, David}, "
    "journal={Frontiers in Neuroscience}, volume={15}, year={2021}}"
)


class Taught(NamedTuple):
    """One tick: what it computed, and what it taught."""

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: dict[str, jax.Array]
    delta: dict[str, jax.Array]


@rule
class DirectRule(ConnectedRule):
    """A rule that sends every node a random projection of one thing."""

    scale: float = 1.0

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """What is sent, of the output's shape, from the loss's gradient there."""
        raise NotImplementedError

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node."""
        del args
        circuit.require_layers_apart()
        circuit.require_output()
        own = fold_in_name(key, f"apical.{type(self).__name__}")
        matrices = draw_matrices(circuit, own)
        return FeedbackState(matrices, self.connect(circuit, key, params, matrices))

    def taught(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward pass, and one local step at every node."""
        found = self._teach(circuit, params, state, args)
        grads = circuit.leaves.combine(found.grads)
        return Credit(found.value, found.aux, grads, state, ())

    def sent(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """What is sent to each node."""
        found = self._teach(circuit, params, state, args)
        return {n: Signal(v, v, found.delta[n]) for n, v in found.values.items()}

    def _teach(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Taught:
        learned, fixed = circuit.leaves.split(params)
        # The node that is the output hears the error itself.
        last = circuit.output_node

        def tap(site: str, computed: Any, injected: Any) -> Any:
            passes = site == OUTPUT and last is not None
            return (computed if passes else jax.lax.stop_gradient(computed)) + injected

        def network(learned: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, args, tap=tap, inject=errors)
            return (run.loss, run.sites), run.aux

        start = {**circuit.zeros(), OUTPUT: zeros(circuit.output_shape)}
        (value, values), transposed, aux = jax.vjp(
            network, learned, start, has_aux=True
        )
        one = jnp.ones_like(value)
        delta = transposed((one, jax.tree.map(jnp.zeros_like, values)))[1]
        error = delta.pop(OUTPUT)
        message = self.message(circuit, args, error)
        matrices = self.carry(state, state.feedback)
        for name, wiring in axis_maps(circuit).items():
            if name != last:
                carried = self.scale * wiring.carry(matrices[name], message)
                carried = carried.astype(values[name].dtype)
                delta[name] += beside(carried, delta[name])
        readout = error if last is None else jnp.zeros_like(error)
        grads = transposed((one, {**delta, OUTPUT: readout}))[0]
        values = {n: values[n] for n in delta}
        return Taught(value, aux, grads, values, delta)


def draw_matrices(circuit: Circuit, key: jax.Array) -> dict[str, jax.Array]:
    """For each node a matrix, uniform within 1/sqrt(units of the node)."""
    sizes = {n: w.size for n, w in axis_maps(circuit).items()}
    counts = [rows * columns for rows, columns in sizes.values()]
    # All at once: a generator is compiled anew for every shape.
    numbers = jax.random.uniform(key, (sum(counts),), minval=-1.0, maxval=1.0)
    parts = jnp.split(numbers, list(accumulate(counts))[:-1])
    real = {n.name: np.zeros((), n.dtype).real.dtype for n in circuit.nodes}
    return {
        name: (part.reshape(size) * size[0] ** -0.5).astype(real[name])
        for part, (name, size) in zip(parts, sizes.items(), strict=True)
    }


# ---- Direct feedback alignment: every node is sent the error of the output.
#
#     delta_n = B_n e,      e = dL/dy, one for each example,      B_n fixed and random
#
# Nøkland 2016. The signal is at the node's value, so that pulling it back through
# what made the node multiplies it by rho'(z_n).

_NOKLAND = (
    "@inproceedings{nokland2016direct, title={Direct Feedback Alignment Provides "
    "Learning in Deep Neural Networks}, author={N{\\o}kland, Arild}, "
    "booktitle={NeurIPS}, year={2016}}"
)


@rule
class DirectFeedbackAlignment(DirectRule):
    """Send the error of the output to every node, through a matrix of its own.

        delta_n = scale B_n e,      da_n = delta_n * rho'(a_n)

    Nothing passes from node to node, nor from step to step of a loop; the parameters
    after the last node take the true gradient.

    | axis of a node                      | what it hears                          |
    |-------------------------------------|----------------------------------------|
    | the examples                        | the error of its own example           |
    | steps that the output has too       | the error of its own step              |
    | a loop that the output has not      | the same at every turn                 |
    | every other (units, pixels, tokens) | rows of B of its own                   |

    An axis of steps of the output is any but the examples' and the last. The node's is
    the first of that length among: the same place, the loops, the other axes. A scan
    over layers is a loop too: its layers share one B.

    State: `FeedbackState(feedback, connections)`: for each node, by name, a matrix
    `[units, outputs]`, uniform within 1/sqrt(units), as in Nøkland's published code:
    signals are then about as large as those that weights drawn with 1/sqrt(fan in)
    would carry.

    Args:
      scale: the size of every B, relative to that.
      error: `"full"`, or `"sign"` to send only the sign of each example's error. With a
        squared error or a cross-entropy it is that of y - y*, as in Frenkel et al.,
        who send it with the size 1 for each example; here the loss is a mean over N
        examples, so the size is 1/N (1 where it is a sum).
      removed_forward: the fraction of forward connections that do not exist: removed
        weights act as 0 and take no gradient.
      removed_backward: the fraction of backward connections that do not exist.
      backward_noise: the standard deviation of feedback weights from call to call,
        relative to their size.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.DirectFeedbackAlignment()
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> state.feedback["a"].shape
      (2, 1)
      >>> credit, backprop = learner(w, state, x), jax.grad(loss_fn)(w, x)
      >>> bool(jnp.allclose(credit.grads["b"], backprop["b"]))  # after the last node
      True
      >>> between = state._replace(feedback={"a": w["b"]})  # the weights that are there
      >>> credit = learner(w, between, x)
      >>> bool(jnp.allclose(credit.grads["a"], backprop["a"]))
      True

    Raises:
      ValueError: in `init`, where there is no output, or a node stands after one;
        where the examples have no axis of their own.

    Source: Nøkland 2016, NeurIPS; the sign of the error: Frenkel, Lefebvre & Bol
    2021, Frontiers in Neuroscience 15:629892; one matrix for many layers: Launay et
    al. 2020, NeurIPS.
    """

    scale: float = 1.0
    error: str = static(default="full")

    search_space: ClassVar[SearchSpace] = {"scale": (0.1, 10.0, "log")}

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """By sign another paper's too."""
        return cited(_NOKLAND, FRENKEL if self.error == "sign" else "")

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """Of a cross-entropy the sign of the error is that of 1/2 - label."""
        found = (
            "separate phases",
            "global error",
            "stored activities",
            "derivative of the nonlinearity",
            "update locking",
            "signed error units",
        )
        return (*found, "labels in every layer") if self.error == "sign" else found

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.scale, "scale")
        check_choice(self.error, "error", ("full", "sign"))

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node."""
        if self.error == "sign":  # has no size of its own
            require_reduction(circuit, params, args)
        return super().init(circuit, key, params, args)

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """The error, or its sign in the units of the loss."""
        del args
        if self.error == "full":
            return error
        return wide(jnp.sign(error)) / circuit.scale


# ---- Direct random target projection: every node is sent the target; no error is.
#
#     delta_n = B_n y*,      y* the target of the output,      B_n fixed and random
#
# Frenkel, Lefebvre & Bol 2021. Only the parameters after the last node see an error.


@rule
class DirectRandomTargetProjection(DirectRule):
    """Send the target to every node, through a matrix of its own.

        delta_n = scale B_n y*,      da_n = delta_n * rho'(a_n)

    A node's update waits for nothing that comes after it. The target takes the place
    of the error in the gradient: the update is -rate dW_n. As B is as often negative
    as positive, the other sign would be the same rule; this is the sign of the
    published code. For one-hot targets y* is the sign of the error y* - y, moved and
    rescaled. Each example has its share of the loss: y*/N where that is a mean over N.

    Which axis of a node hears what, and how B is drawn: as in
    `DirectFeedbackAlignment`. With an unbounded nonlinearity the hidden weights grow
    without end, since the signal never falls: use one that saturates.

    Args:
      scale: the size of every B.
      removed_forward: the fraction of forward connections that do not exist: removed
        weights act as 0 and take no gradient.
      removed_backward: the fraction of backward connections that do not exist.
      backward_noise: the standard deviation of feedback weights from call to call,
        relative to their size.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.zeros((2, 2)), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule, y = apical.rules.DirectRandomTargetProjection(), 2 * jnp.ones((3, 1))
      >>> learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> state = state._replace(feedback={"a": jnp.array([[1.0], [-1.0]])})
      >>> learner(w, state, x, y).grads["a"][0]  # B y*, and tanh'(0) = 1
      Array([ 2., -2.], dtype=float32)

    Raises:
      ValueError: in `init`, without `target=`, or where its shape is not the output's;
        where there is no output, or a node stands after one; where the examples have
        no axis of their own.

    Source: Frenkel, Lefebvre & Bol 2021, Frontiers in Neuroscience 15:629892.
    """

    scale: float = 1.0

    citation: ClassVar[str] = FRENKEL
    needs: ClassVar[tuple[str, ...]] = (
        "derivative of the nonlinearity",
        "signed error units",
        "labels in every layer",
    )
    search_space: ClassVar[SearchSpace] = {"scale": (0.1, 10.0, "log")}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.scale, "scale")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw a matrix for each node, and look at the target."""
        state = super().init(circuit, key, params, args)
        target_of(circuit, args, type(self).__name__)
        require_reduction(circuit, params, args)
        return state

    def message(self, circuit: Circuit, args: Any, error: jax.Array) -> jax.Array:
        """The target, in the units of the loss."""
        del error
        target = target_of(circuit, args, type(self).__name__)
        return wide(target) / circuit.scale

"""Hebbian learning: each weight changes by the input and the output of its synapse.

    dw = x y  less what keeps the weights finite;      no loss, no teaching signal

Oja, subspace and Sanger's rules find the principal components of the input.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import (
    Circuit,
    SynapticActivity,
    readout_gradient,
    readouts,
    require_linear_weights,
    synapse_activity,
)
from .._base import Credit, Rule, SearchSpace, rule, static
from .._field_checks import check_choice, check_fraction, check_positive
from ._hebbian_updates import KINDS, first_threshold, hebbian_update
from ._synaptic_rule import (
    NO_LOSS,
    check_names,
    info_of,
    leaves_of,
    names_without,
    no_descent,
    require_carry,
)

_SOURCES = {
    "oja": (
        "@article{oja1982simplified, title={A Simplified Neuron Model as a Principal "
        "Component Analyzer}, author={Oja, Erkki}, journal={Journal of Mathematical "
        "Biology}, year={1982}}"
    ),
    "sanger": (
        "@article{sanger1989optimal, title={Optimal Unsupervised Learning in a "
        "Single-Layer Linear Feedforward Neural Network}, author={Sanger, Terence D.}, "
        "journal={Neural Networks}, year={1989}}"
    ),
    "subspace": (
        "@article{oja1989neural, title={Neural Networks, Principal Components, and "
        "Subspaces}, author={Oja, Erkki}, journal={International Journal of Neural "
        "Systems}, year={1989}}"
    ),
    "bcm": (
        "@article{bienenstock1982theory, title={Theory for the Development of Neuron "
        "Selectivity: Orientation Specificity and Binocular Interaction in Visual "
        "Cortex}, author={Bienenstock, Elie L. and Cooper, Leon N. and Munro, Paul W.},"
        " journal={Journal of Neuroscience}, year={1982}}\n"
        "@article{intrator1992objective, title={Objective Function Formulation of the "
        "BCM Theory of Visual Cortical Plasticity}, author={Intrator, Nathan and "
        "Cooper, Leon N.}, journal={Neural Networks}, year={1992}}"
    ),
    "soft": (
        "@article{moraitis2022softhebb, title={SoftHebb: Bayesian Inference in "
        "Unsupervised Hebbian Soft Winner-Take-All Networks}, author={Moraitis, "
        "Timoleon and Toichkin, Dmitry and Journ{\\'e}, Adrien and Chua, Yansong and "
        "Guo, Qinghai}, journal={Neuromorphic Computing and Engineering}, year={2022}}"
    ),
}


class HebbianState(NamedTuple):
    """The state of `Hebbian`.

    Attributes:
      thresholds: for each synapse that of its units, by `kind="bcm"`; else `()`.
    """

    thresholds: Any


@rule
class Hebbian(Rule):
    """Change each weight by the input and the output of its synapse; no loss is used.

    With the input x, the output y = x W before a bias or a nonlinearity, and w_k the
    weights of unit k, each summed over places:

        oja         dw_k = y_k x - y_k^2 w_k
        subspace    dw_k = y_k x - y_k sum_j y_j w_j
        sanger      dw_k = y_k x - y_k sum_{j <= k} y_j w_j
        bcm         dw_k = y_k (y_k - theta_k) x       theta_k the mean of y_k^2
        soft        dw_k = p_k (x - y_k w_k)           p = softmax(y / temperature)

    and `grads = -dw`, the mean over examples (or their sum, as `reduction=` says). A
    position of a convolution or a sequence, and a step of a loop, is a place like an
    example; places are summed, as in a gradient. So a convolution learns as a dense
    layer on its patches. On centred inputs `"subspace"` spans the first principal
    components of x, `"sanger"` finds each of them in the order of the units, and each
    unit of `"oja"` the first. The units of `"sanger"`, `"subspace"` and `"soft"` see
    one another within their layer.

    **The read-out.** The synapses after which no other follows learn by their own
    gradient, with all below held; so do biases there. To make a read-out one more
    Hebbian layer, name it in `synapses=`.

    **What is not updated.** Biases, gains and all else below the read-out, and
    synapses that `synapses=` leaves out, get zeros; `credit.info.not_updated` and
    `rule.not_updated(circuit)` list them. A parameter of a Hebbian synapse that is a
    read-out too (a tied weight) learns by the Hebbian update alone.

    **Loops over layers.** Where a loop reads stacked weights (`xs` of `jax.lax.scan`),
    each layer is a synapse of its own.

    **Time.** Each step of a loop adds its update, in windows and streams (`carry=`)
    alike, with no trace in between: windows joined give the update of the whole. The
    threshold of `"bcm"` is the mean of y^2 over examples and positions, averaged over
    steps with weights (1 - threshold_rate)^age, the step itself included; it belongs
    to the network and stays from call to call.

    The update is defined on the effective weight, and pulled to the parameter through
    the linear map between them (a reshape, a mask, a scale). State: `HebbianState`.

    Args:
      kind: `"oja"`, `"sanger"`, `"subspace"`, `"bcm"` or `"soft"`.
      synapses: the names of the Hebbian synapses, as in `print(circuit)`; None: all but
        the read-outs.
      threshold_rate: of `"bcm"`: how fast the threshold follows; 1: the call's mean.
      temperature: of `"soft"`: the softness of the competition, in units of y.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jnp.tanh(x @ w["in"]) @ w["out"] - y) ** 2)
      >>> w = {"in": jnp.full((3, 2), 0.5), "out": jnp.ones((2, 1))}
      >>> x, y = jnp.eye(3)[:2], jnp.ones((2, 1))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.Hebbian("oja"))
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> learner(w, state, x, y).grads["in"][:, 0].tolist()  # of the mean: y^2 w - x y
      [-0.125, -0.125, 0.125]

    Raises:
      ValueError: in `init`, where every synapse is a read-out and none is named, for a
        synapse in a branch, for complex weights, and for an effective weight that is
        not linear in the parameters, or that a loop computes from its carry.

    Source: Oja 1982, J. Math. Biology; Oja 1989 (subspace); Sanger 1989, Neural
    Networks; Bienenstock, Cooper & Munro 1982 with the threshold of Intrator & Cooper
    1992; Moraitis et al. 2022 (SoftHebb).
    """

    kind: str = static(default="oja")
    synapses: tuple[str, ...] | None = static(default=None)
    threshold_rate: float = 0.1
    temperature: float = 1.0

    descends: ClassVar[str] = NO_LOSS

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A sum over units reads the weights of others onto the same input."""
        shared = self.kind in ("sanger", "subspace")
        return ("weight transport",) if shared else ()

    def __post_init__(self) -> None:
        check_choice(self.kind, "kind", KINDS)
        check_positive(self.threshold_rate, "threshold_rate")
        check_fraction(self.threshold_rate, "threshold_rate")
        check_positive(self.temperature, "temperature")
        check_names(self.synapses)

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The source of the kind."""
        return _SOURCES[self.kind]

    @property
    def search_space(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> SearchSpace:
        """The number that the kind reads."""
        if self.kind == "bcm":
            return {"threshold_rate": (0.01, 1.0, "log")}
        return {"temperature": (0.1, 10.0, "log")} if self.kind == "soft" else {}

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the synapses; no threshold yet."""
        del key
        names = self._names(circuit)
        try:
            require_linear_weights(circuit, params, args, names=names, rule="Hebbian")
            found = self._activity(circuit, params, args)
        except ValueError as error:
            if self.synapses is not None:
                raise
            hint = "Name the synapses that are Hebbian to leave this one out."
            raise ValueError(f"{error} {hint} (`synapses=(...)`)") from error
        require_real(found, "Hebbian")
        require_carry(circuit, args, found.aux, "Hebbian")
        if self.kind != "bcm":
            return HebbianState(())
        return HebbianState(tuple(map(first_threshold, found.synapses)))

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The update of each Hebbian synapse, and the gradient of the read-outs."""
        found = self._activity(circuit, params, args)
        chosen = self._chosen(circuit)
        share = 1 / circuit.scale
        updates, thresholds = [], []
        starts = state.thresholds or (None,) * len(found.synapses)
        for synapse, start in zip(found.synapses, starts, strict=True):
            change, end = hebbian_update(
                self.kind,
                synapse,
                threshold=start,
                threshold_rate=self.threshold_rate,
                temperature=self.temperature,
            )
            thresholds.append(end)
            updates.append(-(share if synapse.number in chosen else 0.0) * change)
        grads = with_rest(
            circuit,
            _leaves(circuit, chosen),
            found.pull(updates),
            readout_gradient(circuit, params, args),
        )
        info = info_of(found, self.not_updated(circuit))
        after = HebbianState(tuple(thresholds) if self.kind == "bcm" else ())
        return Credit(found.loss, found.aux, grads, after, info)

    def not_updated(self, circuit: Circuit) -> tuple[str, ...]:
        """The names of the learned parameters whose direction is always 0."""
        updated = {*_leaves(circuit, self._chosen(circuit)), *readouts(circuit).leaves}
        return names_without(circuit, updated)

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """There is no such loss."""
        del circuit, params, state, args
        raise no_descent("Hebbian")

    def _activity(self, circuit: Circuit, params: Any, args: Any) -> SynapticActivity:
        return synapse_activity(
            circuit,
            params,
            args,
            names=self._names(circuit),
            rule="Hebbian",
            post="synapse",
        )

    def _names(self, circuit: Circuit) -> tuple[str, ...]:
        """The names of the Hebbian synapses."""
        if self.synapses is not None:
            return self.synapses
        chosen = self._chosen(circuit)
        if not chosen:
            every = ", ".join(repr(s.name) for s in circuit.synapses) or "none"
            raise ValueError(
                "Hebbian leaves read-outs to their own gradient, and the loss function "
                f"has no other synapse (synapses: {every}). Name those that are to be "
                "Hebbian: `synapses=(...)`."
            )
        return tuple(dict.fromkeys(circuit.synapses[i].name for i in sorted(chosen)))

    def _chosen(self, circuit: Circuit) -> frozenset[int]:
        """The positions of the Hebbian synapses."""
        last, named = readouts(circuit).synapses, self.synapses
        return frozenset(
            i
            for i, s in enumerate(circuit.synapses)
            if (i not in last if named is None else s.name in named)
        )


def require_real(found: SynapticActivity, name: str) -> None:
    """Refuse complex weights and inputs, whose products would need conjugates."""
    for synapse in found.synapses:
        if any(map(jnp.iscomplexobj, (synapse.weight, synapse.pre, synapse.post))):
            raise ValueError(
                f"{name} is defined for real numbers, and synapse {synapse.name!r} is "
                "complex. Leave it out: `synapses=(...)`."
            )


def with_rest(circuit: Circuit, taken: set[int], first: Any, rest: Any) -> Any:
    """A pytree of the parameters: the leaves `taken` of the first, else of the rest."""
    pairs = zip(*(circuit.leaves.split(t)[0] for t in (first, rest)), strict=True)
    return circuit.leaves.combine(
        [a if i in taken else b for i, (a, b) in enumerate(pairs)]
    )


def _leaves(circuit: Circuit, chosen: frozenset[int]) -> set[int]:
    return leaves_of(circuit.synapses[i] for i in chosen)

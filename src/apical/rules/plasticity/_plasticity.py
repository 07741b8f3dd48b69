"""Plasticity with coefficients: a rule that is itself learned, evolved or searched.

    dw = sum_abcd A[a, b, c, d] mean(x^a y^b delta^d) w^c,          grads = -dw

x is the input of a synapse, y what stands behind it, and delta minus the derivative of
an example's loss by the synapse's output, as a teacher (any rule) finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import jax

from ...circuit import (
    Circuit,
    SynapticActivity,
    UnknownUnitError,
    readout_gradient,
    readouts,
    require_linear_weights,
    synapse_activity,
    synapse_cotangents,
)
from .._base import Credit, Rule, SearchSpace, cited, has_signals, rule, static
from .._field_checks import check_choice
from ..feedback._connection_masks import multiply
from ._hebbian import require_real, with_rest
from ._monomials import (
    Monomial,
    is_by_layer,
    monomials_of,
    polynomial,
    printed,
    reads_signals,
    require_exponents,
)
from ._synaptic_rule import (
    NO_LOSS,
    leaves_of,
    names_without,
    no_descent,
    require_carry,
)

_POST = {"node": "node or output", "output": "synapse"}
_SOURCES = (
    "@inproceedings{confavreux2020metalearning, title={A meta-learning approach to "
    "(re)discover plasticity rules that carve a desired function into a neural "
    "network}, author={Confavreux, Basile and Zenke, Friedemann and Agnes, Everton J. "
    "and Lillicrap, Timothy and Vogels, Tim P.}, booktitle={Advances in Neural "
    "Information Processing Systems}, year={2020}}\n"
    "@article{shervanitabar2023metalearning, title={Meta-learning biologically "
    "plausible plasticity rules with random feedback pathways}, "
    "author={Shervani-Tabar, Navid and Rosenbaum, Robert}, journal={Nature "
    "Communications}, year={2023}}"
)


def _oja() -> dict[tuple[int, int, int, int], float]:
    return {(1, 1, 0, 0): 1.0, (0, 2, 1, 0): -1.0}


@rule
class PolynomialInfo:
    """Diagnostics of `Plasticity`.

    Attributes:
      not_updated: the parameters whose direction is 0, by name: those that have no
        coefficients and, without a teacher, are no read-out.
      teacher: the diagnostics of the teacher; `()` without one.
    """

    not_updated: tuple[str, ...] = static(default=())
    teacher: Any = ()


@rule
class Plasticity(Rule):
    """Change each weight by a polynomial of its two ends, itself and a signal.

        dw_ij = sum_abcd A[a, b, c, d] mean(x_i^a y_j^b delta_j^d) w_ij^c

    The coefficients A are leaves of the rule: sweep them by `jax.vmap`, evolve them, or
    differentiate what a learner has learned with respect to them. The mean is that over
    examples (a sum, by `reduction="sum"`); positions of a convolution or a sequence and
    steps of a loop are summed, as in a gradient.

    **Signs.** dw is what is *added* to a weight, and delta = -dL/dz the direction in
    which the loss of an example falls: so x delta with a positive coefficient learns,
    and `grads = -dw` is what an optimiser subtracts. With A[1, 0, 0, 1] = 1 and nothing
    else `grads` are those of the teacher, if they are its signals pulled back in the
    undisturbed network (backpropagation, the rules of feedback weights, predictive
    coding with fixed predictions, ...). A[1, 1, 0, 0] = 1 with A[0, 2, 1, 0] = -1 is
    Oja's rule (`Hebbian("oja")`, with `post="output"`).

    x and y are those of the undisturbed forward pass. The signal of a node, by the
    teacher's `signals`, is carried to the output of the synapse by the derivative in
    between; at a read-out it is the loss's own derivative. The update is defined on the
    effective weight, as of `Hebbian`.

    **Other parameters** (biases, gains, and synapses that a dict by layer leaves out)
    take `others` times the gradient of the teacher. Without a teacher, read-outs take
    `others` times their own gradient, with all below held, and the rest get zeros:
    `credit.info.not_updated` and `rule.not_updated(circuit)` list them.

    State: that of the teacher; `()` without one.

    Args:
      coefficients: an array A of rank 4; a dict of the terms that there are, `{(a, b,
        c, d): number}`; or a dict with one of both for each layer, by the names of
        synapses in `print(circuit)`. By default Oja's rule.
      teacher: the rule whose signals are delta; None: delta has exponent 0.
      others: the factor of the gradients of other parameters.
      post: y: `"node"`, the node that the synapse drives (the activity after the
        nonlinearity) or at a read-out the output of the network; or `"output"`, what
        the synapse itself gives.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> terms = {(1, 0, 0, 1): 0.9, (0, 2, 1, 0): -0.1}
      >>> rule = apical.rules.Plasticity(terms, apical.rules.Backpropagation())
      >>> print(rule.formula())
      dw = 0.9 x δ - 0.1 y² w
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> exact = jax.grad(loss_fn)(w, x)["a"]
      >>> decay = jnp.mean(jnp.tanh(x @ w["a"]) ** 2, 0) * w["a"]
      >>> bool(jnp.allclose(credit.grads["a"], 0.9 * exact + 0.1 * decay))
      True

    Raises:
      ValueError: for coefficients of another form; in `init`, for a layer that does not
        exist, an exponent of delta without a teacher, a teacher without `signals` or
        one that moves its state with the parameters; and for synapses as of `Hebbian`
        or, with `post="node"`, of `STDP`.

    Source: Confavreux et al. 2020; Shervani-Tabar & Rosenbaum 2023.
    """

    coefficients: Any = field(default_factory=_oja)
    teacher: Rule | None = None
    others: float = 1.0
    post: str = static(default="node")

    search_space: ClassVar[SearchSpace] = {}

    def __post_init__(self) -> None:
        check_choice(self.post, "post", tuple(_POST))
        if isinstance(self.teacher, (type, str)):
            raise TypeError(
                f"`teacher` must be a rule, as `FeedbackAlignment()`, not "
                f"{self.teacher!r}."
            )
        given = self.coefficients
        if isinstance(given, Mapping):
            layers = given.values() if is_by_layer(given) else [given]
            for layer in layers:
                if isinstance(layer, Mapping):
                    require_exponents(layer)

    # ---- What follows from the teacher.

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Its own, and that of the teacher."""
        return cited(_SOURCES, self.teacher)

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the teacher."""
        return self._of_teacher("needs", ())

    @property
    def nodes(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the teacher."""
        return self._of_teacher("nodes", "entry")

    @property
    def descends(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the teacher descends, with which its updates may be compared."""
        return self._of_teacher("descends", NO_LOSS)

    def _of_teacher(self, name: str, otherwise: Any) -> Any:
        return otherwise if self.teacher is None else getattr(self.teacher, name)

    # ---- The protocol.

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The state of the teacher; what cannot be told is refused."""
        terms = self._terms(circuit)
        names = self._names(circuit, terms)
        require_linear_weights(circuit, params, args, names=names, rule="Plasticity")
        found = self._explained(circuit, params, args, terms)
        require_real(found, "Plasticity")
        require_carry(circuit, args, found.aux, "Plasticity")
        if self.teacher is None:
            return ()
        _require_teacher(self.teacher)
        state = self.teacher.init(circuit, key, params, args)
        if reads_signals(terms):
            jax.eval_shape(lambda: self._signals(circuit, params, state, args, found))
        return state

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """As the teacher does."""
        if self.teacher is None:
            return state
        return self.teacher.reset(circuit, params, state, args)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The polynomial at each synapse; the teacher's gradient for the rest."""
        terms = self._terms(circuit)
        mask = _removed(state)
        here = circuit.merged(params, multiply(circuit.learned(params), mask))
        found = self._activity(circuit, here, args, terms)
        taught = self._taught(circuit, params, state, args, found)
        signals: list[Any] = [None] * len(found.synapses)
        if reads_signals(terms):
            signals = self._signals(circuit, here, state, args, found)
        share = 1 / circuit.scale
        updates = [
            -share * polynomial(synapse.at_output(), signal, terms[synapse.name])
            for synapse, signal in zip(found.synapses, signals, strict=True)
        ]
        rest = jax.tree.map(lambda g: (self.others * g).astype(g.dtype), taught.grads)
        grads = with_rest(circuit, _covered(circuit, terms), found.pull(updates), rest)
        info = PolynomialInfo(self.not_updated(circuit), taught.info)
        return taught._replace(grads=multiply(grads, mask), info=info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Those of the teacher."""
        if self.teacher is None:
            return super().signals(circuit, params, state, args)
        return self.teacher.signals(circuit, params, state, args)

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the network, as the teacher's."""
        if self.teacher is None:
            return super().predict(circuit, params, state, args)
        return self.teacher.predict(circuit, params, state, args)

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """What the teacher descends."""
        if self.teacher is None:
            raise no_descent("Plasticity without a teacher")
        return self.teacher.descended(circuit, params, state, args)

    def not_updated(self, circuit: Circuit) -> tuple[str, ...]:
        """The names of the learned parameters whose direction is always 0."""
        if self.teacher is not None:
            return ()
        taken = _covered(circuit, self._terms(circuit))
        return names_without(circuit, {*taken, *readouts(circuit).leaves})

    def formula(self, digits: int = 3, smallest: float = 0.0) -> str:
        """The rule as an equation, the largest terms first; a line for each layer.

        Args:
          digits: of each number.
          smallest: terms whose coefficient is no larger are left out.

        Example:
          >>> import jax.numpy as jnp, apical
          >>> A = jnp.zeros((2, 3, 2, 2)).at[1, 0, 0, 1].set(1.0)
          >>> rule = apical.rules.Plasticity({"a": A, "b": {(0, 0, 1, 0): -0.01}})
          >>> print(rule.formula())
          a: dw = x δ
          b: dw = -0.01 w
        """
        if not is_by_layer(self.coefficients):
            return printed(monomials_of(self.coefficients), digits, smallest)
        lines = (
            f"{name}: {printed(monomials_of(layer), digits, smallest)}"
            for name, layer in self.coefficients.items()
        )
        return "\n".join(lines)

    def _taught(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        found: SynapticActivity,
    ) -> Credit:
        """The credit of the teacher; without one, that of the read-outs."""
        if self.teacher is not None:
            return self.teacher.credit(circuit, params, state, args)
        grads = readout_gradient(circuit, params, args)
        return Credit(found.loss, found.aux, grads, (), ())

    # ---- Terms, ends and signals of the synapses that have coefficients.

    def _terms(self, circuit: Circuit) -> dict[str, tuple[Monomial, ...]]:
        """The terms of each synapse that has coefficients, by its name."""
        known = dict.fromkeys(s.name for s in circuit.synapses)
        if is_by_layer(self.coefficients):
            for name in self.coefficients:
                if name not in known:
                    raise ValueError(
                        f"`coefficients` names {name!r}; the synapses are "
                        f"{', '.join(map(repr, known)) or 'none'}."
                    )
            found = {n: monomials_of(c) for n, c in self.coefficients.items()}
        else:
            found = dict.fromkeys(known, monomials_of(self.coefficients))
        if not found:
            raise ValueError(
                "Plasticity updates synapses, and the loss function has none."
            )
        if self.teacher is None and reads_signals(found):
            raise ValueError(
                "`coefficients` have terms with delta, the signal of a teacher: pass "
                "`teacher=`, as `teacher=FeedbackAlignment()`; or leave them out (an "
                "array of a last axis of length 1)."
            )
        return found

    def _names(self, circuit: Circuit, terms: Any) -> tuple[str, ...]:
        return tuple(s.name for s in circuit.synapses if s.name in terms)

    def _activity(
        self, circuit: Circuit, params: Any, args: Any, terms: Any
    ) -> SynapticActivity:
        return synapse_activity(
            circuit,
            params,
            args,
            names=self._names(circuit, terms),
            rule="Plasticity",
            post=_POST[self.post],
        )

    def _explained(
        self, circuit: Circuit, params: Any, args: Any, terms: Any
    ) -> SynapticActivity:
        """The activity; where no node follows a synapse, the other choice of y."""
        try:
            return self._activity(circuit, params, args, terms)
        except UnknownUnitError as error:
            if self.post == "output":
                raise
            other = "Or let y be what the synapse itself gives: `post='output'`."
            raise ValueError(f"{error} {other}") from error

    def _signals(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        found: SynapticActivity,
    ) -> list[jax.Array]:
        """For each synapse the signal at its output: minus one example's gradient."""
        assert self.teacher is not None
        taught = self.teacher.signals(circuit, params, state, args)
        held = circuit.run(params, args).sites
        delta = {name: s.teaching for name, s in taught.items()}
        errors = synapse_cotangents(circuit, params, args, held=held, delta=delta)
        scale = circuit.scale
        return [-scale * s.output_in_steps(errors[s.number]) for s in found.synapses]


def _covered(circuit: Circuit, terms: Mapping[str, Any]) -> set[int]:
    """The positions of the leaves that have coefficients."""
    return leaves_of(s for s in circuit.synapses if s.name in terms)


def _removed(state: Any) -> Any:
    """The mask of the connections that a teacher's state leaves; None: all."""
    return getattr(getattr(state, "connections", None), "forward", None)


def _require_teacher(teacher: Rule) -> None:
    """Refuse a teacher that has no signals, or another network than the loss."""
    name = type(teacher).__name__
    if not has_signals(teacher):
        raise ValueError(
            f"`teacher={name}(...)` has no teaching signals at nodes (`signals`), so "
            "there is no delta. Use one that has, as `FeedbackAlignment()`."
        )
    if teacher.coupled:
        raise ValueError(
            f"`teacher={name}(...)` moves its state together with the parameters, by "
            "its own update, and not by that of Plasticity. Use a teacher without."
        )

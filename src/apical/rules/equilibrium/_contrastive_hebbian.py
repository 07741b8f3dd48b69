"""Contrastive Hebbian learning and coupled learning: clamped minus free state.

    dW_k ~ gain^(k-L) (s+_k s+_(k-1)' - s-_k s-_(k-1)')

with s- the free equilibrium and s+ the one whose output is clamped to its target.
Movellan 1991; with feedback that is `gain` times weaker than the forward weights: Xie &
Seung 2003, who show that it becomes backpropagation as gain -> 0. Coupled learning
(Stern et al. 2021) moves the output only part of the way.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .._base import SearchSpace, rule, static
from .._field_checks import check_positive
from ._phases import ClampedNetwork


@rule
class ContrastiveHebbian(ClampedNetwork):
    """Contrast the free state with the state whose output is clamped to its target.

        s_n <- rho_n(z_n + gain sum_m <s_m, dz_m/ds_n>)
        dtheta = -sum_n c_n (<s+_n, dz_n/dtheta(s+)> - <s-_n, dz_n/dtheta(s-)>)

    The output is a linear unit, which takes the value of its input immediately and
    sends feedback to it. If it is marked as a unit with a nonlinearity,
    `apical.output(apical.node(rho(z), "out"))`, it settles like the others. As gain ->
    0 this is backpropagation of half the squared error (with a nonlinearity at the
    output, of the loss whose gradient with respect to the drive is y - target). The
    loss function is reported but not minimised: its other terms (penalties) have no
    effect.

    The trained network is the one that settles: `credit.value` is its loss, `predict`
    its output. With gain 1 or 0.5 and standard initial weights, ReLU units diverge and
    other units saturate; with 0.1 they do not. In single precision each factor of 10 in
    1/gain costs one decimal digit per layer. (On handwritten digits two hidden layers
    of ReLU units learn about as well as with backpropagation of the squared error if
    the gain is tuned; at 1 they do not learn.)

    Args:
      gain: gamma of Xie & Seung, the strength of feedback; 1 is Movellan's rule.
      free_steps: steps from zeros to the free state. None: 30, or twice the longest
        path of nodes if that is more.
      clamped_steps: steps from there to the clamped state. None: 20, or twice the
        longest path of nodes if that is more.
      rate: the step size: at 1 a unit jumps to its new value and may oscillate;
        smaller values damp.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     out = jnp.tanh(x @ w["a"]) @ w["b"]
      ...     return 0.5 * jnp.mean(jnp.sum((out - y) ** 2, axis=1))
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> args = (w, x, jnp.zeros((3, 1)))
      >>> rule = apical.rules.ContrastiveHebbian(gain=0.01)
      >>> learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
      >>> state = learner.init(jax.random.key(0), *args)
      >>> grads = learner(w, state, *args[1:]).grads
      >>> bool(jnp.allclose(grads["a"], jax.grad(loss_fn)(*args)["a"], rtol=0.05))
      True

    Raises:
      ValueError: in `init`, without units, one output and `target=`; if two synapses
        follow each other with no unit between; if examples depend on each other.

    Source: Movellan 1991, Connectionist Models: Proceedings of the 1990 Summer School;
    Xie & Seung 2003, Neural Computation 15(2).
    """

    gain: float = 0.1
    free_steps: int | None = static(default=None)
    clamped_steps: int | None = static(default=None)
    rate: float = 0.5

    citation: ClassVar[str] = (
        "@incollection{movellan1991contrastive, title={Contrastive {H}ebbian Learning "
        "in the Continuous {H}opfield Model}, author={Movellan, Javier R.}, booktitle={"
        "Connectionist Models: Proceedings of the 1990 Summer School}, year={1991}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"gain": (0.01, 1.0, "log")}


@rule
class CoupledLearning(ClampedNetwork):
    """Contrast the free state with one whose output is moved slightly to the target.

        y_clamped = y_free + nudge (target - y_free)
        dtheta = -(1/nudge) (dE/dtheta(free) - dE/dtheta(clamped))

    with the energy E of the units: a learning rule for physical networks. With nudge 1
    it is `ContrastiveHebbian`, whose notes on the output, the gain and the loss apply
    here too. It needs a free state that changes little when its output is moved: on
    handwritten digits it learns with tanh, but not with rectifiers.

    Args:
      nudge: eta of the paper: the fraction of the distance to the target by which the
        output is moved.
      gain: the strength of feedback; 1 in the paper.
      free_steps: steps from zeros to the free state. None: 30, or twice the longest
        path of nodes if that is more.
      clamped_steps: steps from there to the clamped state. None: 20, or twice the
        longest path of nodes if that is more.
      rate: the size of a step: at 1 a unit takes its new value, and may oscillate; less
        damps.

    Example:
      >>> import apical
      >>> rule = apical.rules.CoupledLearning(nudge=0.1)

    Raises:
      ValueError: as `ContrastiveHebbian`.

    Source: Stern, Hexner, Rocks & Liu 2021, Physical Review X 11:021045.
    """

    nudge: float = 0.1
    gain: float = 0.1
    free_steps: int | None = static(default=None)
    clamped_steps: int | None = static(default=None)
    rate: float = 0.5

    citation: ClassVar[str] = (
        "@article{stern2021supervised, title={Supervised Learning in Physical "
        "Networks: From Machine Learning to Learning Machines}, author={Stern, "
        "Menachem and Hexner, Daniel and Rocks, Jason W. and Liu, Andrea J.}, "
        "journal={Physical Review X}, volume={11}, pages={021045}, year={2021}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {
        "nudge": (0.01, 1.0, "log"),
        "gain": (0.01, 1.0, "log"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.nudge, "nudge")

    @property
    def clamp_strength(self) -> Any:
        """The paper's eta."""
        return self.nudge

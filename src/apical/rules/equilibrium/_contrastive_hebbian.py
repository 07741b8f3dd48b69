"""Contrastive Hebbian learning: Hebbian in a clamped state, anti-Hebbian in a free one.

    dW_k ~ gain^(k-L) (s+_k s+_(k-1)' - s-_k s-_(k-1)')

- at the free equilibrium, + at that with the output clamped to its target. Movellan
1991; with feedback `gain` times weaker than the forward weights Xie & Seung 2003, who
show that it becomes backpropagation as gain -> 0.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .._base import SearchSpace, rule, static
from .._checks import check_positive
from ._phases import ClampedNetwork


@rule
class ContrastiveHebbian(ClampedNetwork):
    """Contrast the free state with the state whose output is clamped to its target.

        s_n <- rho_n(z_n + gain sum_m <s_m, dz_m/ds_n>)
        dtheta = -sum_n c_n (<s+_n, dz_n/dtheta(s+)> - <s-_n, dz_n/dtheta(s-)>)

    The output is one of the units: linear, answering at once what it reads and sending
    feedback there, unless it is marked as a unit with a nonlinearity, which settles as
    the others do: `apical.output(apical.node(rho(z), "out"))`. As gain -> 0 this is
    backpropagation of half the squared error (with a nonlinearity at the output: of the
    loss whose gradient by the drive is y - target). The loss function is reported, not
    descended: what else it adds (a penalty) teaches nothing.

    The network that is trained is the one that settles: `credit.value` is its loss,
    `predict` its output. With gain 1, or 0.5, and weights of ordinary size rectifiers
    grow without bound, and other units saturate; 0.1 does neither. In single precision
    a small gain costs as many digits as it has noughts, at every layer. (On handwritten
    digits two hidden layers of rectifiers learn about as well as by backpropagation of
    the squared error, where the gain is tuned; at 1 they learn nothing.)

    Args:
      gain: gamma of Xie & Seung, how strong feedback is; 1 is Movellan's.
      free_steps: steps to the free state, from zeros. None: 30, or twice the longest
        path of nodes where that is more.
      clamped_steps: steps from there to the clamped one. None: 20, or as many as that.
      rate: the size of a step: 1 takes the new value, at which units may go up and down
        for ever; less damps.

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
      ValueError: in `init`, without units, one output and `target=`; where a synapse
        meets another with no unit between; where examples depend on each other.

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
    """Contrast the free state with one whose output is moved a little to its target.

        y_clamped = y_free + nudge (target - y_free)
        dtheta = -(1/nudge) (dE/dtheta(free) - dE/dtheta(clamped))

    with the energy E of the units: a learning rule for physical networks. With nudge 1
    it is `ContrastiveHebbian`, and all that is said there holds here. It needs a free
    state that resists its output being moved: on the same digits it learns with
    tanh, and not with rectifiers.

    Args:
      nudge: eta of the paper, how far the output is moved, up to 1.
      gain: how strong feedback is; 1 in the paper.
      free_steps: steps to the free state, from zeros. None: 30, or twice the longest
        path of nodes where that is more.
      clamped_steps: steps from there to the clamped one. None: 20, or as many as that.
      rate: the size of a step: 1 takes the new value, at which units may go up and down
        for ever; less damps.

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
    def strength_of_clamp(self) -> Any:
        """The paper's eta."""
        return self.nudge

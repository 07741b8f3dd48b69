"""Efficient traces: a filtered input times a filtered derivative (ES-D-RTRL, pp-prop).

    dE/dW = sum over t [ ((dL_t/dh_t) phi_t) xi_t^T ],
    xi_t  = a xi_{t-1} + x_t,
    phi_t = eps_t / (1 - b^t),      eps_t = b D_t eps_{t-1} + (1 - b) dh_t/d(drive)

x_t is the input of the synapse, h_t the states of the unit that it drives, and D_t the
derivative of these by h_{t-1}. Two small arrays stand in place of a trace for each
weight. Wang et al. 2026.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...circuit import Decays
from .._base import SearchSpace, rule
from ._online_rule import OnlineRule

_WANG = (
    "@article{wang2026model, title={Model-agnostic linear-memory online learning in "
    "spiking neural networks}, author={Wang, Chaoming and Dong, Xingsi and Ji, Zilong "
    "and Xiao, Mingqing and Jiang, Jiedong and Liu, Xiao and Huan, Yuxiang and Wu, "
    "Si}, journal={Nature Communications}, volume={17}, year={2026}}"
)


@rule
class EfficientTraces(OnlineRule):
    """Traces of the memory of inputs and units, on any loop of units: ES-D-RTRL.

        dE/dW = sum over t [ ((dL_t/dh_t) phi_t) xi_t^T ],   xi_t = a xi_{t-1} + x_t,
        phi_t = eps_t / (1 - b^t),   eps_t = b D_t eps_{t-1} + (1 - b) dh_t/d(drive)

    The sum over the past that `EProp` keeps for each weight, of what an input changed
    times the input, is taken as the mean of the former times the sum of the latter.
    Constants are those of braintrace, whose gradients it equals: one decay a = b, the
    mean of the derivative and the sum of the input, and a division by `1 - b^t`, which
    makes a mean of the first steps (there up to step 1000). Of an LSTM braintrace
    counts the path from the cell state to the output of the same step twice; here it
    counts once. Recurrent synapses pass nothing back in time. Units without a memory of
    their own (those of a vanilla network) have filtered inputs too, as in the source.

    Where the states of units decay by one constant d and add their drives, so that
    `EProp` has traces with factors, `EfficientTraces(decay=d, derivative_decay=0.0)`
    gives the same gradient of weights. With one decay d for both, the weight of step t
    is (1 + d^t) / (1 + d) of that: nearly half in a long sequence.

    A parameter that acts entry by entry (a bias, a time constant) has no input. Its
    trace is phi alone, as in the source, and `derivative_decay=0.0` leaves it the
    credit of each step. What a step's output takes from a drive other than by the
    states of the unit is credited by the same trace. A unit with several states has an
    eps for each, and D_t is a matrix.

    Windows and single steps join by `carry=`, as with `EProp`. Leaky read-outs, and
    filters of what units send, are reversed exactly within a call; one that continues
    from call to call is refused.

    State: `OnlineState(feedback, traces)`.

    Args:
      feedback: as in `EProp`.
      chunk: as in `EProp`.
      memory_limit: as in `EProp`.
      decay: a, and b too unless given; at least 0 and below 1.
      derivative_decay: b; at least 0 and below 1.

    Raises:
      ValueError: for decays out of range; in `init`, as `EProp`, and with `carry=` if a
        read-out continues from call to call.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     def step(v, x):
      ...         v = 0.8 * v + x @ w["in"]
      ...         return v, jnp.tanh(v) @ w["out"]
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((2, 3)), x)[1] ** 2)
      >>> w = {"in": jnp.ones((4, 3)) / 9, "out": jnp.ones((3, 1))}
      >>> x = jax.random.normal(jax.random.key(0), (5, 2, 4))
      >>> def gradient(rule):
      ...     learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
      ...     return learner(w, learner.init(jax.random.key(0), w, x), x).grads["in"]
      >>> eprop = gradient(apical.rules.EProp())
      >>> same = apical.rules.EfficientTraces(decay=0.8, derivative_decay=0.0)
      >>> bool(jnp.allclose(gradient(same), eprop, atol=1e-6))
      True
      >>> other = gradient(apical.rules.EfficientTraces(decay=0.8))
      >>> bool(jnp.allclose(other, eprop, atol=1e-3))
      False

    Source: Wang, Dong, Ji, Xiao, Jiang, Liu, Huan & Wu 2026, Nature Communications
    17:1745; constants as in braintrace 0.2.6, `ES_D_RTRL`.
    """

    decay: Any = 0.9
    derivative_decay: Any = None

    passes: ClassVar[str] = "factors"
    source: ClassVar[str] = _WANG
    search_space: ClassVar[SearchSpace] = {"decay": (0.5, 0.99, "linear")}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decay(self.decay, "decay")
        if self.derivative_decay is not None:
            _check_decay(self.derivative_decay, "derivative_decay")

    @property
    def decays(self) -> Decays:
        """The filters of the inputs and of the derivatives."""
        last = self.derivative_decay
        return Decays(self.decay, self.decay if last is None else last)


def _check_decay(value: Any, name: str) -> None:
    """Require a number in [0, 1); traced numbers are not checked."""
    wrong = value is None or isinstance(value, (str, list, tuple))
    # A bool is a placeholder of JAX, in a tree of a rule's leaves.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        wrong = not 0 <= value < 1
    if wrong:
        raise ValueError(
            f"`{name}` must be a number of at least 0 and below 1, not {value!r}."
        )

"""E-prop: eligibility propagation.

    dE/dW_ji = sum over t [ L_j^t e_ji^t ],
    e_ji^t = (dz_j^t / dh_j^t) eps_ji^t,
    eps_ji^t = (dh_j^t / dh_j^{t-1}) eps_ji^{t-1} + dh_j^t / dW_ji

h_j are the states of unit j, z_j its output, and L_j^t the learning signal: the error
of the outputs at the same time, sent back to the unit. Recurrent synapses pass nothing
back in time. Bellec et al. 2020, equations 1, 3 and 14.
"""

from __future__ import annotations

from typing import ClassVar

from .._base import rule
from ._online_rule import OnlineRule

_BELLEC = (
    "@article{bellec2020solution, title={A solution to the learning dilemma for "
    "recurrent networks of spiking neurons}, author={Bellec, Guillaume and Scherr, "
    "Franz and Subramoney, Anand and Hajek, Elias and Salaj, Darjan and Legenstein, "
    "Robert and Maass, Wolfgang}, journal={Nature Communications}, volume={11}, "
    "year={2020}}"
)


@rule
class EProp(OnlineRule):
    """Eligibility traces, times the error that arrives within the same time step.

        dE/dW = sum over t [ L_t e_t ],      e_t = D_t e_{t-1} + d(states)/dW

    The gradient equals that of backpropagation through time if recurrent synapses read
    the loop's state without a derivative. It works on any `lax.scan` whose units keep
    to themselves: LIF and adaptive neurons, LSTM, GRU and other cells, complex
    diagonal recurrences; units are found in the program. The traces need memory
    `states x examples x weights`, whatever the length of the sequence, and less where
    the state of a unit decays by one constant.

    Leaky read-outs and losses summed in the loop are reversed exactly. Of several
    layers in one loop, and of loops in series, a lower layer gets the credit that
    arrives within the same step. `init` warns of parameters that have no trace: those
    below another synapse of the same step.

    With `carry=`, calls are windows of one sequence, of one step or more: the traces
    continue in the state, and `learner.reset` begins another sequence. The result does
    not depend on the number of steps in a call, while the weights stay the same.

    State: `OnlineState(feedback, traces)`.

    Args:
      feedback: how the error passes back within a step: `"symmetric"` (through the
        weights), `"random"` (`FeedbackAlignment()`), `"adaptive"` (`KolenPollack()`,
        which needs `apical.train_step`), or a rule with another backward path
        (`SignConcordance()`, `WeightMirror()`). Or a rule that sends a signal to every
        node, and nothing between nodes: `DirectFeedbackAlignment()`, or
        `LocalLosses(readout="fixed")`, which is DECOLLE (Kaiser et al. 2020).
      chunk: the number of steps that are computed at once. The result does not depend
        on it; longer chunks are faster, and need memory for the states in the chunk.
      memory_limit: the largest number of bytes of the traces.

    Raises:
      ValueError: in `init`, if there is no loop, if units depend on each other other
        than by synapses, or if the traces need more than `memory_limit`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):                             # x: [time, example, input]
      ...     def step(h, x):
      ...         h = 0.9 * h + x @ w["in"] + jnp.tanh(h) @ w["recurrent"]
      ...         return h, jnp.tanh(h) @ w["out"]
      ...     start = jnp.zeros((x.shape[1], 4))
      ...     return jnp.mean((jax.lax.scan(step, start, x)[1] - y) ** 2)
      >>> keys = jax.random.split(jax.random.key(0), 4)
      >>> shapes = {"in": (3, 4), "recurrent": (4, 4), "out": (4, 2)}
      >>> draw = lambda key, shape: jax.random.normal(key, shape) / 2
      >>> w = {n: draw(k, s) for k, (n, s) in zip(keys, shapes.items())}
      >>> x, y = jax.random.normal(keys[3], (10, 5, 3)), jnp.zeros((10, 5, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.EProp(), batch_axes=1)
      >>> credit = jax.jit(learner)(w, learner.init(keys[3], w, x, y), x, y)
      >>> exact = jax.grad(loss_fn)(w, x, y)
      >>> bool(jnp.allclose(credit.grads["out"], exact["out"], atol=1e-6))
      True
      >>> bool(jnp.allclose(credit.grads["recurrent"], exact["recurrent"], atol=1e-3))
      False

    Source: Bellec et al. 2020, Nature Communications 11:3625.
    """

    passes: ClassVar[str] = "nothing"
    source: ClassVar[str] = _BELLEC

"""Spike functions: a step forwards, a smooth surrogate of its derivative backwards.

    s = H(u) = 1 if u > 0 else 0,      ds/du := height psi(u),      psi(0) = max psi = 1

with u = potential - threshold, in the units of the caller. Neftci, Mostafa & Zenke
2019. Height and width of psi matter more than its shape (Zenke & Vogels 2021): the
height is 1 unless told otherwise, and widths and slopes are in the units of u.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._checks import check_positive

SpikeFunction = Callable[[jax.Array], jax.Array]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def heaviside(derivative: Callable[..., Any], u: jax.Array, numbers: Any) -> jax.Array:
    """The step, under the name that it has in a printed program."""
    del derivative, numbers
    fired = (u > 0).astype(u.dtype)
    # A potential that is not a number must not look like a neuron that is silent.
    return jnp.where(jnp.isnan(u), u, fired)


@heaviside.defjvp
def _heaviside_jvp(derivative: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    u, numbers = primals
    slope = jnp.asarray(derivative(u, *numbers), u.dtype)
    if slope.shape not in ((), u.shape):
        raise ValueError(
            "The derivative of a spike function must act on each entry: for u of shape "
            f"{u.shape} it returned {slope.shape}."
        )
    return heaviside(derivative, u, numbers), slope * tangents[0]


def surrogate(derivative: Callable[..., Any], *numbers: Any) -> SpikeFunction:
    """A spike function with a derivative of your own.

        s = H(u) = 1 if u > 0 else 0,           ds/du := derivative(u, *numbers)

    A potential of exactly the threshold gives no spike, as in snntorch, spyx, norse and
    NIR; a potential that is NaN gives NaN. It works under `grad`, `jvp`, `vmap`, `jit`,
    `scan` and `remat`, and nested. The second derivative is that of `derivative`: as if
    s were an integral of it (0 almost everywhere for `boxcar`, of one sign on each
    side for `triangle`); s itself is a step, so that no difference quotient gives it.

    Args:
      derivative: a function of u, entry by entry, and of `numbers`.
      numbers: further arguments of `derivative`. They may be traced, as in a `vmap`
        over slopes; derivatives with respect to them are 0, because s does not depend
        on them. What `derivative` closes over must not be traced.

    Returns:
      A function from u (floating point, any shape) to spikes, 0 or 1, of the same shape
      and dtype.

    Raises:
      ValueError: where u is not floating point, when the function is called.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> gaussian = spiking.surrogate(lambda u: jnp.exp(-(u**2)))
      >>> print(gaussian(jnp.array([-1.0, 0.0, 0.5])))
      [0. 0. 1.]
      >>> print(jax.grad(gaussian)(0.0))
      1.0

    Source: Neftci, Mostafa & Zenke 2019, IEEE Signal Processing Magazine 36:51-63.
    """
    if not callable(derivative):
        raise ValueError(f"`derivative` must be a function of u, not {derivative!r}.")
    # Numbers of Python have the dtype of what they meet.
    kept = tuple(
        n.item() if isinstance(n, np.ndarray | np.generic) and n.ndim == 0 else n
        for n in numbers
    )

    def spike(u: jax.Array) -> jax.Array:
        u = jnp.asarray(u)
        if not jnp.issubdtype(u.dtype, jnp.floating):
            raise ValueError(
                f"A spike function needs floating-point numbers, not {u.dtype}: it has "
                "no derivative otherwise."
            )
        return heaviside(derivative, u, kept)

    return spike


def fast_sigmoid(slope: Any = 25.0, *, height: Any = 1.0) -> SpikeFunction:
    """The derivative of a fast sigmoid u / (1 + slope |u|): SuperSpike.

        ds/du := height / (1 + slope |u|)^2

    snntorch `fast_sigmoid(slope)` and spyx `superspike(k=slope)` are the same. norse
    1.1.0 `method="super"` has a slope of 1, whatever its `alpha` is.

    Args:
      slope: the inverse of the |u| at which a quarter of the height is left.
      height: the derivative at u = 0.

    Returns:
      A function from u = potential - threshold to spikes, 0 or 1.

    Raises:
      ValueError: unless slope and height are above 0 and finite.

    Example:
      >>> import jax
      >>> from apical import spiking
      >>> spike = spiking.fast_sigmoid(slope=10.0)
      >>> float(spike(0.1)), round(float(jax.grad(spike)(0.1)), 6)
      (1.0, 0.25)

    Source: Zenke & Ganguli 2018, Neural Computation 30:1514-1541.
    """
    _check(slope=slope, height=height)
    return surrogate(lambda u, k, h: h / (1 + k * jnp.abs(u)) ** 2, slope, height)


def arctan(slope: Any = np.pi, *, height: Any = 1.0) -> SpikeFunction:
    """The derivative of an arctangent.

        ds/du := height / (1 + (slope u)^2)

    snntorch `atan(alpha)` is `arctan(pi alpha / 2, height=alpha / 2)`, so that its
    default `alpha=2` is the default here; spyx `arctan(k)` is
    `arctan(pi k, height=1 / pi)`.

    Args:
      slope: the inverse of the |u| at which half of the height is left.
      height: the derivative at u = 0.

    Returns:
      A function from u = potential - threshold to spikes, 0 or 1.

    Raises:
      ValueError: unless slope and height are above 0 and finite.

    Example:
      >>> import jax
      >>> from apical import spiking
      >>> round(float(jax.grad(spiking.arctan(slope=2.0))(0.5)), 6)
      0.5

    Source: Fang, Yu, Chen, Masquelier, Huang & Tian 2021, ICCV.
    """
    _check(slope=slope, height=height)
    return surrogate(lambda u, k, h: h / (1 + (k * u) ** 2), slope, height)


def triangle(half_width: Any = 1.0, *, height: Any = 1.0) -> SpikeFunction:
    """A triangle: the pseudo-derivative of e-prop.

        ds/du := height max(0, 1 - |u| / half_width)

    e-prop's (gamma / threshold) max(0, 1 - |u / threshold|) is
    `triangle(threshold, height=gamma / threshold)`, with gamma = 0.3. spyx
    `triangular(k)` is `triangle(1 / k)`; norse `method="triangle"` is
    `triangle(1.0, height=alpha)`.

    Args:
      half_width: the |u| from which the derivative is 0.
      height: the derivative at u = 0.

    Returns:
      A function from u = potential - threshold to spikes, 0 or 1.

    Raises:
      ValueError: unless half_width and height are above 0 and finite.

    Example:
      >>> import jax
      >>> from apical import spiking
      >>> threshold, gamma = 0.5, 0.3
      >>> spike = spiking.triangle(threshold, height=gamma / threshold)
      >>> round(float(jax.grad(spike)(0.25)), 6)
      0.3

    Source: Esser et al. 2016, PNAS 113:11441-11446; Bellec et al. 2020, Nature
    Communications 11:3625 (as the pseudo-derivative of e-prop).
    """
    _check(half_width=half_width, height=height)
    return surrogate(
        lambda u, width, h: h * jnp.maximum(1 - jnp.abs(u) / width, 0),
        half_width,
        height,
    )


def sigmoid(slope: Any = 25.0, *, height: Any = 1.0) -> SpikeFunction:
    """The derivative of a logistic function p, divided by its largest value.

        ds/du := 4 height p (1 - p),        p = 1 / (1 + exp(-slope u))

    snntorch `sigmoid(slope)` is the derivative itself: `height=slope / 4`. So is the
    derivative of the mean of a spike of probability p.

    Args:
      slope: the slope of the logistic function.
      height: the derivative at u = 0.

    Returns:
      A function from u = potential - threshold to spikes, 0 or 1.

    Raises:
      ValueError: unless slope and height are above 0 and finite.

    Example:
      >>> import jax
      >>> from apical import spiking
      >>> float(jax.grad(spiking.sigmoid(slope=5.0))(0.0))
      1.0

    Source: Zenke & Vogels 2021, Neural Computation 33:899-925.
    """
    _check(slope=slope, height=height)

    def derivative(u: jax.Array, k: Any, h: Any) -> jax.Array:
        p = jax.nn.sigmoid(-k * jnp.abs(u))  # below 1/2, where 1 - p is exact
        return 4 * h * p * (1 - p)

    return surrogate(derivative, slope, height)


def boxcar(half_width: Any = 0.5, *, height: Any = 1.0) -> SpikeFunction:
    """A rectangle: the gradient passes where the potential is near the threshold.

        ds/du := height if |u| < half_width else 0

    spyx `boxcar(width, height)` is `boxcar(width / 2, height=height)`. The
    straight-through estimator, ds/du = 1 everywhere, is `surrogate(jnp.ones_like)`.

    Args:
      half_width: the |u| from which the derivative is 0.
      height: the derivative at u = 0.

    Returns:
      A function from u = potential - threshold to spikes, 0 or 1.

    Raises:
      ValueError: unless half_width and height are above 0 and finite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from apical import spiking
      >>> u = jnp.array([-0.6, -0.4, 0.4, 0.6])
      >>> print(jax.vmap(jax.grad(spiking.boxcar(half_width=0.5)))(u))
      [0. 1. 1. 0.]

    Source: Wu, Deng, Li, Zhu & Shi 2018, Frontiers in Neuroscience 12:331.
    """
    _check(half_width=half_width, height=height)
    return surrogate(
        lambda u, width, h: jnp.where(jnp.abs(u) < width, h, 0), half_width, height
    )


def _check(**numbers: Any) -> None:
    for name, number in numbers.items():
        check_positive(number, name)

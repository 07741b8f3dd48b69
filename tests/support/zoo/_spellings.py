"""One weighted layer, in every common spelling.

`SYNAPSES` are spellings of a layer whose entries are weighted by different numbers and
then added, `GAINS` products that scale an activity entry by entry. Each maps an
activity `h` of shape [4, 6] and a weight to an activity: linear in `h`, and in the
weight except for a quotient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Spelling = tuple[Callable[[jax.Array, jax.Array], jax.Array], tuple[int, ...]]

SYNAPSES: dict[str, Spelling] = {}
GAINS: dict[str, Spelling] = {}
MASK = np.arange(36).reshape(6, 6) % 5 > 0
SEGMENTS = np.array([0, 1, 0, 2, 1, 0])
FIXED = np.linspace(-1, 1, 36, dtype=np.float32).reshape(6, 6)


def _spell(table: dict[str, Spelling], *shape: int) -> Callable:
    def entered(spelling: Callable) -> Callable:
        table[spelling.__name__] = spelling, shape
        return spelling

    return entered


def _products(h: jax.Array, w: jax.Array) -> jax.Array:
    return h[:, :, None] * w  # [example, in, out]


_SUMS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sum": lambda p: p.sum(1),
    "mean": lambda p: jnp.mean(p, axis=1),
    "sum_where": lambda p: jnp.sum(p, axis=1, where=MASK[None]),
    "masked_sum": lambda p: jnp.where(MASK[None], p, 0.0).sum(1),
    "reshaped": lambda p: p.reshape(4, 2, 3, 6).sum((1, 2)),
    "transposed": lambda p: p.transpose(2, 0, 1).sum(2).T,
    "sliced": lambda p: p[:, 1:5].sum(1),
    "flipped": lambda p: jnp.flip(p, 1)[:, ::2].sum(1),
    "padded": lambda p: jnp.pad(p, ((0, 0), (1, 2), (0, 0))).sum(1),
    "cast": lambda p: p.astype(jnp.float16).astype(jnp.float32).sum(1),
    "moved_and_halved": lambda p: (0.5 * p + 0.1).sum(1) - p.mean(1),
    "einsum_with_ones": lambda p: jnp.einsum("bio,i->bo", p, np.ones(6, np.float32)),
    "fixed_matrix": lambda p: jnp.einsum("bio,ij->bjo", p, FIXED)[:, 2],
    "cumsum_last": lambda p: jnp.cumsum(p, axis=1)[:, -1],
    "segment_sum": lambda p: (
        jax.ops.segment_sum(p.swapaxes(0, 1), SEGMENTS, 3).swapaxes(0, 1).reshape(4, -1)
    ),
    "scatter_add": lambda p: jnp.zeros((4, 3, 6)).at[:, SEGMENTS].add(p).reshape(4, -1),
    "associative_scan": lambda p: lax.associative_scan(jnp.add, p, axis=1)[:, -1],
    "reduce_window": lambda p: lax.reduce_window(
        p, 0.0, lax.add, (1, 2, 1), (1, 2, 1), "VALID"
    ).reshape(4, -1),
    "lax_reduce": lambda p: lax.reduce(p, np.float32(0), lax.add, (1,)),
    "slices_added": lambda p: p[:, 0] + p[:, 1] + p[:, 2] - p[:, 3],
    "split_and_added": lambda p: sum(jnp.split(p, 3, axis=1))[:, 0],
    "two_sums": lambda p: p.reshape(4, 2, 3, 6).sum(2).sum(1),
    "sum_of_means": lambda p: p.sum(1) + 0.5 * p.mean(1),
    "concatenated": lambda p: jnp.concatenate([p, 2 * p], axis=1).sum(1),
    "stacked": lambda p: jnp.stack([p[:, i] for i in range(6)]).sum(0),
    "gathered": lambda p: p[:, np.array([5, 0, 0, 3])].sum(1),
    "cond_sum": lambda p: lax.cond(True, lambda p: p.sum(1), lambda p: -p.sum(1), p),
    "scanned_sum": lambda p: lax.scan(
        lambda s, p: (s + p, None), jnp.zeros((4, 6)), p.swapaxes(0, 1)
    )[0],
    "looped_sum": lambda p: lax.fori_loop(
        0, 6, lambda i, s: s + p[:, i], jnp.zeros((4, 6))
    ),
    "matmul_ones": lambda p: p.swapaxes(1, 2) @ np.ones(6, np.float32),
    "trace_of_blocks": lambda p: jnp.trace(p.reshape(4, 6, 6), axis1=1, axis2=2)[
        :, None
    ],
    "diff_of_cumsum": lambda p: jnp.diff(jnp.cumsum(p, 1)[:, 1::2], axis=1)[:, 0],
}
for _name, _sum in _SUMS.items():
    SYNAPSES[f"product_{_name}"] = (
        (lambda h, w, total=_sum: total(_products(h, w))),
        (6, 6),
    )


@_spell(SYNAPSES, 6, 3)
def sum_over_columns(h, w):
    return (h[:, None, :] * w.T).sum(-1)


@_spell(SYNAPSES, 6, 3)
def mapped_over_units(h, w):
    return jax.vmap(lambda w: jnp.sum(h * w, axis=-1), 1, 1)(w)


@_spell(SYNAPSES, 6, 3)
def mapped_over_examples(h, w):
    return jax.vmap(lambda h: jnp.sum(h[:, None] * w, axis=0))(h)


@_spell(SYNAPSES, 6, 3)
def one_unit_after_another(h, w):
    return lax.map(lambda w: jnp.sum(h * w, axis=-1), w.T).T


@_spell(SYNAPSES, 6)
def one_unit(h, w):
    return jnp.sum(h * w, axis=1, keepdims=True)


@_spell(SYNAPSES, 6)
def weighted_mean(h, w):
    return jnp.broadcast_to(jnp.mean(h * w, axis=1, keepdims=True), (4, 2))


@_spell(SYNAPSES, 6, 3)
def python_sum(h, w):
    return sum(h[:, i : i + 1] * w[i] for i in range(6))


@_spell(SYNAPSES, 6, 3)
def scan_of_multiply_add(h, w):
    def step(total, slices):
        h, w = slices
        return total + h[:, None] * w, None

    return lax.scan(step, jnp.zeros((4, 3)), (h.T, w))[0]


@_spell(SYNAPSES, 6, 3)
def fori_loop_of_multiply_add(h, w):
    def step(i, total):
        column = lax.dynamic_slice_in_dim(h, i, 1, axis=1)
        return total + column * lax.dynamic_slice_in_dim(w, i, 1)

    return lax.fori_loop(0, 6, step, jnp.zeros((4, 3)))


@_spell(SYNAPSES, 6, 3)
def remat_of_products(h, w):
    return jax.checkpoint(lambda h, w: _products(h, w).sum(1))(h, w)


@_spell(SYNAPSES, 6, 3)
def einsum_then_sum(h, w):
    return jnp.einsum("bi,io->bio", h, w).sum(1)


@_spell(SYNAPSES, 3)
def shifted_taps(h, w):
    """A depthwise convolution, as state-space models write it."""
    padded = jnp.pad(h, ((0, 0), (2, 0)))
    return sum(padded[:, k : k + 6] * w[k] for k in range(3))


@_spell(SYNAPSES, 3, 2)
def shifted_taps_of_channels(h, w):
    padded = jnp.pad(h.reshape(4, 3, 2), ((0, 0), (2, 0), (0, 0)))
    return sum(padded[:, k : k + 3] * w[k] for k in range(3)).reshape(4, 6)


@_spell(SYNAPSES, 6)
def circulant(h, w):
    return sum(jnp.roll(h, k, axis=1) * w[k] for k in range(6))


@_spell(SYNAPSES, 6, 4)
def gathered_inputs(h, w):
    """Every unit reads four different inputs, as in a sparse layer."""
    index = np.arange(24).reshape(6, 4) * 5 % 6
    return jnp.sum(h[:, index] * w, axis=-1)


@_spell(SYNAPSES, 6, 6)
def residual_and_products(h, w):
    return h + _products(h, w).sum(1)


@_spell(SYNAPSES, 6)
def gain_then_fixed_matrix(h, w):
    return (h * w) @ FIXED


@_spell(SYNAPSES, 2)
def token_shift(h, w):
    """The present and the step before, weighed by two numbers."""
    before = jnp.pad(h, ((0, 0), (1, 0)))[:, :-1]
    return w[0] * h + w[1] * before


@_spell(SYNAPSES, 6)
def pooled_positions(h, w):
    return jnp.repeat((h * w).reshape(4, 3, 2).sum(-1), 2, axis=1)


@_spell(GAINS, 6)
def scale(h, w):
    return h * w


@_spell(GAINS, 6)
def einsum_scale(h, w):
    return jnp.einsum("...d,d->...d", h, w)


@_spell(GAINS, 6)
def quotient(h, w):
    return h / (2 + w)


@_spell(GAINS)
def scalar(h, w):
    return h * w


@_spell(GAINS, 6)
def layer_scale(h, w):
    return h + jnp.tanh(h) * w


@_spell(GAINS)
def re_zero(h, w):
    return h + w * jnp.sin(h)


@_spell(GAINS, 6)
def layer_norm(h, w):
    h = h - h.mean(1, keepdims=True)
    return h * lax.rsqrt(jnp.mean(h * h, 1, keepdims=True) + 1e-3) * w


@_spell(GAINS, 6)
def layer_norm_of_flax(h, w):
    mean = h.mean(1, keepdims=True)
    factor = lax.rsqrt(jnp.var(h, 1, keepdims=True) + 1e-3) * w
    return (h - mean) * factor


@_spell(GAINS, 6)
def norm_after_scale(h, w):
    h = h * w
    return (h - h.mean(1, keepdims=True)) / (1 + jnp.std(h, 1, keepdims=True))


@_spell(GAINS, 6)
def same_scale_of_two(h, w):
    return jnp.tanh(h) * w + jnp.sin(h) * w


@_spell(GAINS, 2)
def channel_scale_then_pool(h, w):
    scaled = h.reshape(4, 3, 2) * w
    return jnp.tile(scaled.mean(1), 3)


@_spell(GAINS, 6)
def scale_then_softmax(h, w):
    return jax.nn.softmax(h * w)


@_spell(GAINS, 6)
def scale_of_a_copy(h, w):
    return jnp.concatenate([h * w, h], axis=1)[:, 3:9]


@_spell(GAINS, 3)
def repeated_scale(h, w):
    return h * jnp.repeat(w, 2)


@_spell(GAINS, 6)
def scale_in_parts(h, w):
    return jnp.concatenate([h[:, :3] * w[:3], h[:, 3:] * w[3:]], axis=1)


@_spell(GAINS, 6)
def decay(h, w):
    """A leaky trace of what comes in, with a decay for each unit."""

    def step(trace, x):
        trace = trace * w + x
        return trace, jnp.tanh(trace)

    return lax.scan(step, jnp.zeros((4, 6)), jnp.stack([h, jnp.tanh(h), h]))[1].sum(0)


@_spell(GAINS, 6)
def scale_in_a_branch(h, w):
    return lax.cond(True, lambda h: h * w, lambda h: h, h)

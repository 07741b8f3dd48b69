"""Comparison of a module in JAX with the same module in torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._arrays import to_jax
from ._functional import loss_function, parameters
from ._packages import torch
from ._run import ENVIRONMENT


def check(
    module: Any,
    loss: Callable[..., Any],
    *args: Any,
    training: bool = False,
    tolerance: float = 1e-4,
) -> float:
    """Compare a loss in JAX with the same loss in torch, and raise where they differ.

        max |a - b| / max |b|

    over the loss, the output of each of its modules, the gradients by `jax.grad` and
    by `torch.autograd` (with the largest of all as the divisor), and the new buffers.
    torchax may compute other numbers than torch without a word: run this once for a
    module that has operations which the tests of apical do not.

    Args:
      module: a `torch.nn.Module`; it is left as it is.
      loss: as for `loss_function`, a tensor without axes.
      *args: arrays, a small batch.
      training: whether the module is in training. Its random numbers are others than
        those of torch, so that it must draw none: no dropout.
      tolerance: the largest difference that is allowed.

    Returns:
      The largest difference.

    Raises:
      ValueError: if a difference is larger, naming the first module whose output
        differs, or the parameter or buffer; if random numbers are drawn.

    Example:
      >>> import torch
      >>> import numpy as np
      >>> from apical.interop import torch as interop
      >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU())
      >>> x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
      >>> interop.check(module, lambda module, x: module(x).square().mean(), x) < 1e-4
      True
    """
    arrays = tuple(jax.tree.map(jnp.asarray, each) for each in args)
    value, outputs, grads, buffers = _in_jax(module, loss, arrays, training)
    copied = copy.deepcopy(module).train(training)
    tensors = jax.tree.map(_tensor, arrays)
    with _recorded(copied) as record, torch.enable_grad():
        expected = loss(copied, *tensors)
        expected.backward()
    pairs = [
        (f"the output of {name}", ours, to_jax(theirs, name), None)
        for (name, ours), (_, theirs) in zip(outputs, record, strict=True)
    ]
    pairs.append(("the loss", value, to_jax(expected, "the loss"), None))
    learned = {
        name: jnp.zeros(p.shape) if p.grad is None else to_jax(p.grad, name)
        for name, p in copied.named_parameters()
        if p.requires_grad
    }
    largest = max(float(jnp.abs(grad).max()) for grad in learned.values())
    pairs += [(f"the gradient of {n}", grads[n], learned[n], largest) for n in learned]
    after = dict(copied.named_buffers())
    pairs += [
        (f"the buffer {n}", buffers[n], to_jax(after[n], n), None)
        for n in buffers
        if n in after
    ]
    found = 0.0
    for what, ours, theirs, scale in pairs:
        apart = _difference(ours, theirs, scale)
        if not apart <= tolerance:
            raise ValueError(
                f"{what} differs from that of torch by {apart:.2g} of its largest "
                "entry. An operation in it is not that of torch: write it in others."
            )
        found = max(found, apart)
    return found


def _in_jax(module: Any, loss: Any, arrays: Any, training: bool) -> Any:
    names: list[str] = []

    def with_outputs(module: Any, *args: Any) -> Any:
        with _recorded(module) as record:
            value = loss(module, *args)
        names[:] = [name for name, _ in record]
        return value, [output for _, output in record]

    loss_fn = loss_function(module, with_outputs, training=training)
    params, buffers = parameters(module)
    before = ENVIRONMENT.draws
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (value, (new, outputs)), grads = run(params, buffers, jax.random.key(0), *arrays)
    if ENVIRONMENT.draws != before:
        raise ValueError(
            "the module draws random numbers, which are others in torch: check it with "
            "training=False, or without dropout."
        )
    return value, list(zip(names, outputs, strict=True)), grads, new


@contextmanager
def _recorded(module: Any) -> Iterator[list[tuple[str, Any]]]:
    """The outputs of the modules inside that are one tensor, in the order of calls."""
    record: list[tuple[str, Any]] = []

    def keep(name: str) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                # In-place operations may follow.
                record.append((name, output.detach().clone()))

        return hook

    handles = [
        each.register_forward_hook(keep(f"{name} ({type(each).__name__})"))
        for name, each in module.named_modules()
        if name
    ]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _tensor(array: Any) -> Any:
    wide = array.dtype == jnp.int32  # as torch has them
    return torch.from_numpy(np.array(array, np.int64 if wide else None))


def _difference(ours: Any, theirs: Any, scale: float | None) -> float:
    if jnp.shape(ours) != jnp.shape(theirs):
        return float("inf")
    wide = np.complex128 if np.iscomplexobj(theirs) else np.float64
    a, b = np.asarray(ours, wide), np.asarray(theirs, wide)
    if a.size == 0 or np.array_equal(a, b, equal_nan=True):
        return 0.0
    top = np.abs(b[np.isfinite(b)]).max(initial=0.0) if scale is None else scale
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b)).max()
    return float(apart / max(top, 1e-30))

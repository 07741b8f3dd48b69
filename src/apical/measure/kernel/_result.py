"""`PathKernel`: contributions of examples to predictions, and their kernel machine.

y(x) - y0(x) = sum_i change[x, i]
change[x, i] = -integral of L'_i K(x, x_i) dt
kernel machine: y0(x) - sum_i a_i (integral of K(x, x_i) dt),  a_i independent of x
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PathKernel:
    """The contributions of the training examples to each prediction.

    `...` is the shape of what `predict` returns.

    Attributes:
      initial: the predictions before training, y0.
      final: the predictions after it, y.
      change: `[..., examples]`, what each example contributed: summed over the examples
        it is y - y0.
      kernel: the path kernel: the integral of K(x, x_i) over training time, where an
        update with learning rate h takes the time h. `[..., examples]` if the network
        has one output, else `[..., examples, outputs]`, for each output of example i.
        NaN, for a rule whose update is not linear in L'_i, for an example whose L'_i
        was too small in some update to divide by. None with `kernel=False`.
      loss_slope: L'_i, the derivative of the loss of example i by its output: the mean
        over its updates. `[examples]`, or `[examples, outputs]`; NaN for an example
        that took part in none. None with `kernel=False`.
      loss: the loss of each update's batch, before the update.
      params: the parameters after training.
      state: the rule's state after training.
      error: |sum of the contributions - (y - y0)| / |y - y0|, the norms over all
        predictions: the error of the quadrature, and rounding.
    """

    initial: jax.Array
    final: jax.Array
    change: jax.Array
    kernel: jax.Array | None
    loss_slope: jax.Array | None
    loss: jax.Array
    params: Any
    state: Any
    error: jax.Array

    @property
    def coefficients(self) -> jax.Array:
        """The coefficients a_i that do not depend on x, of the shape of `loss_slope`.

        For each example those that come nearest to its contributions, by least squares
        over all predictions; an average of L'_i along the path, weighted by the kernel.
        As few predictions as the network has outputs are always fitted.

        Raises:
          ValueError: without a kernel.
        """
        kernel, change = self._known(), self.change
        fit = jax.vmap(lambda k, c: -jnp.linalg.pinv(k) @ c)(
            self._columns(), change.reshape(-1, change.shape[-1]).T
        )
        return fit.reshape(kernel.shape[self.initial.ndim :])

    @property
    def kernel_machine(self) -> jax.Array:
        """The predictions of the kernel machine with these coefficients.

            y0(x) - sum_i a_i (integral of K(x, x_i) dt)

        If training were a kernel machine, they would equal `final`.

        Raises:
          ValueError: without a kernel.
        """
        columns = self._columns()
        fit = self.coefficients.reshape(len(columns), -1)
        pulled = jnp.einsum("ixc,ic->x", columns, fit)
        return self.initial - pulled.reshape(self.initial.shape)

    def _columns(self) -> jax.Array:
        """The kernel as `[examples, predictions, outputs]`."""
        kernel, examples = self._known(), self.change.shape[-1]
        rows = kernel.reshape(self.initial.size, examples, -1)
        return jnp.swapaxes(rows, 0, 1)

    def _known(self) -> jax.Array:
        if self.kernel is None:
            raise ValueError(
                "There is no kernel: it was left out by `path_kernel(kernel=False)`."
            )
        return self.kernel

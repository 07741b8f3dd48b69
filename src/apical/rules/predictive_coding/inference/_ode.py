"""Inference as a differential equation, dv/dt = -dE/dv, by any solver of diffrax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from ..._numerics import relative_norm
from .._energy import AbstractEnergy, Settled
from ._abstract import AbstractInference, Budget


@final
@dataclass(frozen=True)
class DifferentialEquation(AbstractInference):
    """Integrate dv/dt = -dE/dv with steps of adaptive size.

    The rule's `steps` are the maximum number of solver steps; its `rate` is the size of
    the first step; its `tolerance` is the relative slope at which integration ends.
    Needs diffrax: `pip install 'apical[ode]'`.

    Args:
      time: the end time, in units in which an isolated error decays as exp(-t).
      solver: a solver of diffrax; None: `diffrax.Heun()`.
      relative: the relative tolerance of a step.
      absolute: the absolute tolerance of a step.

    Source: Innocenti et al. 2024, arXiv:2412.03676 (second-order solvers beat Euler).
    """

    time: float = 20.0
    solver: Any = None
    relative: float = 1e-3
    absolute: float = 1e-3

    supports_tolerance = True
    supports_free_arguments = True
    citation: ClassVar[str] = (
        "@misc{innocenti2024jpc, title={JPC: Flexible Inference for Predictive "
        "Coding Networks in JAX}, author={Innocenti, Francesco and others}, "
        "note={arXiv:2412.03676}, year={2024}}"
    )

    def settle(self, energy: AbstractEnergy, budget: Budget) -> Settled:
        """Integrate from the feed-forward values."""
        diffrax = _diffrax()
        first = energy.slope(energy.start)

        def flow(t: Any, point: Any, args: Any) -> Any:
            del t, args
            return jax.tree.map(jnp.negative, energy.slope(point))

        def rests(t: Any, point: Any, args: Any, **rest: Any) -> Any:
            del t, args, rest
            return relative_norm(energy.slope(point), first) <= budget.tolerance

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(flow),
            diffrax.Heun() if self.solver is None else self.solver,
            t0=0.0,
            t1=self.time,
            dt0=budget.rate,
            y0=energy.start,
            stepsize_controller=diffrax.PIDController(self.relative, self.absolute),
            max_steps=budget.steps,
            event=diffrax.Event(rests) if budget.tolerance else None,
            # Reaching the maximum number of steps is not an error: the residual shows
            # it.
            throw=False,
        )
        point = jax.tree.map(lambda x: x[-1], found.ys)
        residual = relative_norm(energy.slope(point), first)
        return energy.settled(point, residual, found.stats["num_steps"])


def _diffrax() -> Any:
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            "`DifferentialEquation` needs diffrax: pip install 'apical[ode]'."
        ) from error
    return diffrax

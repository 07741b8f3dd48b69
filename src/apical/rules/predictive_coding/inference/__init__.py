"""Schemes of inference: how the values of predictive coding settle."""

from ._abstract import AbstractInference as AbstractInference
from ._abstract import Budget as Budget
from ._abstract import Reach as Reach
from ._conjugate_gradients import ConjugateGradients as ConjugateGradients
from ._error_relaxation import ErrorRelaxation as ErrorRelaxation
from ._gradient_descent import GradientDescent as GradientDescent
from ._gradient_descent import relax as relax
from ._ode import DifferentialEquation as DifferentialEquation
from ._sweep import Sweep as Sweep
from ._zero_divergence import ZeroDivergence as ZeroDivergence

"""The path kernel: contributions of training examples to predictions, and a plot."""

from ._contributions_plot import plot_contributions as plot_contributions
from ._path_kernel import path_kernel as path_kernel
from ._result import PathKernel as PathKernel

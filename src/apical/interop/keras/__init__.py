"""Keras 3 on its JAX backend: models as loss functions, and `model.fit` with a rule."""

from ._functional import loss_function as loss_function
from ._functional import parameters as parameters
from ._functional import write_back as write_back
from ._train_step import train_step as train_step

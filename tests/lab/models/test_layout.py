"""The axis of channels in the user's own models."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from support.lab_files import blank

from apical.lab import LabError, load
from apical.lab.models import own_model
from apical.lab.training._setup import TrainConfig, TrainSetup

DATA = blank("pictures", (3, 6, 6), classes=4)


class Flax(nn.Module):
    """Convolution and read-out, channels last as flax has them."""

    classes: int

    @nn.compact
    def __call__(self, x):
        h = nn.tanh(nn.Conv(5, (3, 3))(x))
        return nn.Dense(self.classes)(h.reshape(len(h), -1))


def flax_wrong(key, shape, classes):
    """Initialised and called with what was handed over."""
    module = Flax(classes)
    return Partial(module.apply, module.init(key, jnp.zeros((1, *shape))))


def flax_right(key, shape, classes):
    """The channels moved to the end, in both."""
    module, (channels, height, width) = Flax(classes), shape
    params = module.init(key, jnp.zeros((1, height, width, channels)))
    return Partial(lambda p, x: module.apply(p, jnp.moveaxis(x, 1, -1)), params)


def of_haiku(form):
    """A haiku network with or without a declared axis of channels."""

    def factory(key, shape, classes):
        def forward(x):
            h = jnp.tanh(hk.Conv2D(5, 3, data_format=form)(x))
            return hk.Linear(classes)(h.reshape(len(h), -1))

        network = hk.without_apply_rng(hk.transform(forward))
        return Partial(network.apply, network.init(key, jnp.zeros((1, *shape))))

    return factory


class Equinox(eqx.Module):
    """Channels first, as equinox has them."""

    convolution: eqx.nn.Conv2d
    readout: eqx.nn.Linear

    def __init__(self, key, shape, classes):
        self.convolution = eqx.nn.Conv2d(shape[0], 5, 3, padding=1, key=key)
        size = 5 * shape[1] * shape[2]
        self.readout = eqx.nn.Linear(size, classes, key=key)

    def __call__(self, x):
        h = jnp.tanh(jax.vmap(self.convolution)(x))
        return jax.vmap(self.readout)(h.reshape(len(h), -1))


def by_row(key, shape, classes):
    """A convolution along one axis, of which the columns are meant as channels."""
    made = eqx.nn.Conv1d(shape[2], classes, shape[1], key=key)
    return Partial(lambda m, x: jax.vmap(m)(x[:, 0].swapaxes(1, 2)).mean(-1), made)


def start(factory, data=DATA):
    model = own_model(factory, data.kind)
    return TrainSetup(TrainConfig(data, "mine", model, optax.adam, 0.01, 1, 2))


@pytest.mark.parametrize(
    "factory",
    [flax_right, of_haiku("NCHW"), Equinox, by_row],
    ids=lambda factory: factory.__qualname__,
)
def test_a_model_with_the_channels_where_they_are_is_taken(factory):
    assert start(factory).loss is not None


@pytest.mark.parametrize(
    "factory", [flax_wrong, of_haiku("NHWC")], ids=["flax", "haiku"]
)
def test_a_model_that_takes_columns_for_channels_is_refused(factory):
    with pytest.raises(LabError) as refusal:
        start(factory)
    said = str(refusal.value)
    assert "made for 6 channels" in said and "have 3 channels and 6 columns" in said
    assert "mine: the kernel" in said
    assert "jnp.moveaxis(x, 1, -1)" in said and "(examples, 6, 6, 3)" in said


def test_where_the_numbers_cannot_tell_nothing_is_refused():
    start(flax_wrong, blank("pictures", (6, 6, 6), classes=4))


def wants_columns_last(key, shape, classes):
    """Its matrix fits pictures with the channels last alone."""
    return Partial(lambda w, x: (x @ w).mean((1, 2)), jnp.ones((shape[0], classes)))


def unpacks_wrongly(key, shape, classes):
    """A factory that fails."""
    height, width = shape
    return jnp.ones((height, width))


@pytest.mark.parametrize("factory", [wants_columns_last, unpacks_wrongly])
def test_what_fails_on_pictures_is_told_their_axes(factory):
    with pytest.raises(LabError, match=r"\(examples, channels, height, width\)"):
        start(factory)


def test_other_data_are_not_spoken_of_as_pictures():
    with pytest.raises(LabError) as refusal:
        start(unpacks_wrongly, blank("vectors", (3,), classes=4))
    assert "channels" not in str(refusal.value)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_files_with_the_channels_last_are_refused_with_what_to_do(
    tmp_path, channels, kind
):
    x, y = np.ones((6, 9, 9, channels), kind), np.arange(6) % 2
    path = tmp_path / "mine.npz"
    np.savez(path, train_x=x, train_y=y, test_x=x, test_y=y)
    with pytest.raises(LabError, match=r"numpy.moveaxis\(x, -1, 1\)"):
        load(path)
    x = np.moveaxis(x, -1, 1)
    np.savez(path, train_x=x, train_y=y, test_x=x, test_y=y)
    assert load(path).shape == (channels, 9, 9)

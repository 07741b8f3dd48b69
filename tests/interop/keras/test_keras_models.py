"""Models of Keras learn by rules: as loss functions, and in `model.fit`.

With `python -m pytest -m slow tests/interop/keras`, where apical[keras] is installed.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apical

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="pip install apical[keras]")
interop = pytest.importorskip(
    "apical.interop.keras", reason="pip install apical[keras]", exc_type=ImportError
)
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
Y = (np.arange(16) % 3).astype(np.int32)
LEVELS = np.array([[1, -1], [-1, 1], [1, 1]])[Y]  # of both channels, by class
NOISE = RNG.normal(size=(16, 8, 8, 2))
X = (LEVELS[:, None, None] + 0.5 * NOISE).astype(np.float32)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SETTINGS = {"has_aux": True, "batch_axes": (None, 0, 0)}


def functional():
    """A branch and a skip connection, with batch norm."""
    inputs = keras.Input((8, 8, 2))
    h = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    h = keras.layers.BatchNormalization(name="norm")(h)
    h = keras.activations.tanh(h)
    h = h + keras.layers.Conv2D(4, 1, name="second")(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, keras.layers.Dense(3, name="readout")(h))
    return model, ["first/kernel", "second/kernel", "readout/kernel"]


def sequential():
    """Rows of a picture, read by an LSTM."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Reshape((8, 16)),
            keras.layers.LSTM(5, name="lstm"),
            keras.layers.Dense(3, kernel_regularizer="l2", name="readout"),
        ]
    )
    paths = [variable.path for variable in model.trainable_variables]
    return model, [path for path in paths if "kernel" in path]


class Attentive(keras.Model):
    """A subclass, with attention over the pixels."""

    def __init__(self):
        super().__init__()
        self.into = keras.layers.Dense(6, "tanh", name="into")
        self.attention = keras.layers.MultiHeadAttention(2, 3, name="attention")
        self.readout = keras.layers.Dense(3, name="readout")

    def call(self, x):
        h = self.into(keras.ops.reshape(x, (-1, 64, 2)))
        h = h + self.attention(h, h)
        return self.readout(keras.ops.mean(h, axis=1))


def subclass():
    model = Attentive()
    model(X)
    paths = [variable.path for variable in model.trainable_variables]
    return model, [path for path in paths if "kernel" in path]


MODELS = (functional, sequential, subclass)


@pytest.fixture(params=MODELS, ids=lambda build: build.__name__)
def found(request):
    keras.utils.set_random_seed(0)
    model, synapses = request.param()
    params, state = interop.parameters(model)
    loss_fn = interop.loss_function(model, LOSS)
    return model, synapses, loss_fn, params, (state, jnp.asarray(X), jnp.asarray(Y))


def learned(loss_fn, params, args, rule):
    learner = apical.value_and_grad(loss_fn, rule, **SETTINGS)
    state = learner.init(jax.random.key(1), params, *args)
    return jax.jit(learner)(params, state, *args)


def test_a_model_is_a_loss_function_with_the_synapses_it_has(found):
    model, synapses, loss_fn, params, args = found
    circuit = apical.trace(loss_fn, **SETTINGS)(params, *args)
    assert sorted(each.name for each in circuit.synapses) == sorted(synapses)
    own = LOSS(Y, model(X, training=True)) + sum(model.losses)
    credit = learned(loss_fn, params, args, apical.rules.PredictiveCoding())
    assert float(credit.value) == pytest.approx(float(own), rel=1e-5)
    truth = jax.grad(loss_fn, has_aux=True)(params, *args)[0]
    for name, grad in truth.items():
        assert np.allclose(credit.grads[name], grad, rtol=1e-4, atol=1e-6), name
    other = learned(loss_fn, params, args, apical.rules.FeedbackAlignment()).grads
    below = [name for name in synapses if not name.endswith("readout/kernel")]
    assert below
    for name in below:
        far = np.abs(other[name] - truth[name]).max()
        assert far > 0.1 * np.abs(truth[name]).max(), name


def test_trained_weights_and_statistics_go_back(found):
    model, _, loss_fn, params, args = found
    step = apical.train_step(
        loss_fn, apical.rules.FeedbackAlignment(), optax.adam(1e-2), **SETTINGS
    )
    state, step = step.init(jax.random.key(1), params, *args), jax.jit(step)
    others, x, y = args
    values = []
    for _ in range(20):
        params, state, credit = step(params, state, others, x, y)
        others = credit.aux
        values.append(float(credit.value))
    assert values[19] < values[0]
    interop.write_back(model, params, others)
    again = interop.parameters(model)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, again, (params, others)))


def compiled(build=functional):
    keras.utils.set_random_seed(0)
    model, _ = build()
    model.compile(keras.optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
    return model


def fitted(model, rule, **keywords):
    if rule is not None:
        model.train_step = interop.train_step(
            model, rule, X[:8], Y[:8], key=jax.random.key(0)
        )
    options = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, **options | keywords).history


@pytest.mark.parametrize("build", MODELS)
def test_fit_with_backpropagation_is_the_fit_of_keras(build):
    expected = fitted(compiled(build), None)
    model = compiled(build)
    assert fitted(model, apical.rules.Backpropagation()) == {
        name: pytest.approx(values, rel=1e-4) for name, values in expected.items()
    }
    assert model.evaluate(X, Y, verbose=0)


def test_fit_with_another_rule_learns_otherwise():
    expected = fitted(compiled(), None)["loss"]
    found = fitted(compiled(), apical.rules.FeedbackAlignment(), epochs=15)["loss"]
    assert found[14] < found[0]
    assert found[:3] != pytest.approx(expected, rel=1e-4)


def test_the_state_of_a_rule_goes_on_from_step_to_step():
    def states(**keywords):
        model = compiled(sequential)
        before = len(model.optimizer.variables)
        fitted(model, apical.rules.NodePerturbation(), **keywords)
        return [np.asarray(v.value) for v in model.optimizer.variables[before:]]

    one, three = states(epochs=1), states(epochs=3)
    moved = [not np.allclose(a, b) for a, b in zip(one, three, strict=True)]
    assert any(moved)


def test_dropout_takes_its_seeds_from_the_state():
    layers = keras.layers.Flatten(), keras.layers.Dropout(0.5), keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    params, state = interop.parameters(model)
    loss_fn = interop.loss_function(model, LOSS)
    value, new = loss_fn(params, state, X, Y)
    assert float(loss_fn(params, state, X, Y)[0]) == float(value)
    assert float(loss_fn(params, new, X, Y)[0]) != float(value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interop.parameters(Attentive()), "not built"),
        (lambda: interop.train_step(*uncompiled(), key=jax.random.key(0)), "compiled"),
        (
            lambda: fitted(compiled(), RULE, class_weight={0: 1.0, 1: 2.0, 2: 3.0}),
            "fit",
        ),
        (lambda: fitted(compiled(), apical.rules.KolenPollack()), "moves its state"),
        (lambda: interop.write_back(functional()[0], {}), "missing are"),
        (lambda: interop.loss_function(functional()[0], each)(*whole()), "one number"),
    ],
)
def test_what_cannot_be_done_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


RULE = apical.rules.FeedbackAlignment()


def each(y, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)


def uncompiled():
    return functional()[0], RULE, X, Y


def whole():
    model = functional()[0]
    params, state = interop.parameters(model)
    return params, state, X, Y

"""The models: shapes, computations, and batch norm as a pure function."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.lab_files import blank

from apical.lab import LabError
from apical.lab.models import MODELS, check_model
from apical.lab.models._layers import (
    Statistics,
    batch_statistics,
    maximum_of_four,
    mean_of_four,
)

SHAPES = {
    "pictures": [(1, 8, 8), (1, 28, 28), (3, 32, 32)],
    "vectors": [(5,), (2, 3)],
    "characters": [(64,)],
    "sequences": [(6, 5)],
}
CASES = [
    (name, kind, shape)
    for name, model in MODELS.items()
    for kind in model.reads
    for shape in SHAPES[kind]
]
TALKERS = [name for name, model in MODELS.items() if "characters" in model.reads]
NORMED = ["cnn", "resnet"]


@pytest.fixture(scope="module")
def key():
    """A key with which drawing compiles faster."""
    return jax.random.key(0, impl="rbg")


def build(name, key, shape, classes):
    """The model, and its statistics or None."""
    built = MODELS[name].build(key, shape, classes)
    return built if type(built) is tuple else (built, None)


@pytest.mark.parametrize(("name", "kind", "shape"), CASES)
def test_a_model_gives_a_logit_for_each_class_and_learns_every_leaf(
    key, name, kind, shape
):
    def tried(key):
        model, statistics = build(name, key, shape, 7)
        check_model(model, statistics, blank(kind, shape, classes=7))
        with pytest.raises(LabError, match="its outputs must have the shape"):
            check_model(model, statistics, blank(kind, shape, classes=8))
        return model

    # Shapes are enough, and nothing is drawn.
    leaves = jax.tree.leaves(jax.eval_shape(tried, key))
    assert leaves and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", MODELS)
def test_the_weights_are_drawn_from_the_key(key, name):
    (kind, *_) = MODELS[name].reads
    shape = SHAPES[kind][0]
    draw = jax.jit(lambda key: build(name, key, shape, 7)[0])
    assert eqx.tree_equal(draw(key), draw(key))
    assert not eqx.tree_equal(draw(key), draw(jax.random.fold_in(key, 1)))


def test_the_mlp_of_the_digits_has_two_hidden_layers_of_128(key):
    model = jax.eval_shape(lambda key: build("mlp", key, (1, 8, 8), 10)[0], key)
    shapes = [leaf.shape for leaf in jax.tree.leaves(model) if leaf.ndim == 2]
    assert shapes == [(128, 64), (128, 128), (10, 128)]


def test_the_lenet_of_mnist_has_the_layers_of_the_paper(key):
    model = jax.eval_shape(lambda key: build("lenet", key, (1, 32, 32), 10)[0], key)
    weights = [leaf.shape for leaf in jax.tree.leaves(model) if leaf.ndim in (2, 4)]
    # Padded, the second convolution leaves 8 x 8 where the paper has 5 x 5.
    inner = [(120, 16 * 8 * 8), (84, 120), (10, 84)]
    assert weights == [(6, 1, 5, 5), (16, 6, 5, 5), *inner]


@pytest.mark.parametrize(("name", "side"), [("cnn", 4), ("lenet", 4), ("resnet", 8)])
def test_pictures_too_small_to_be_halved_are_refused(key, name, side):
    def tried(key):
        model, statistics = build(name, key, (1, side, side), 3)
        check_model(model, statistics, blank("pictures", (1, side, side), classes=3))

    jax.eval_shape(tried, key)
    with pytest.raises(LabError, match=f"{name} halves .* at least {side} x {side};"):
        build(name, key, (1, side, side - 1), 3)


# ---------------------------------------------------------------- batch norm


def test_batch_norm_uses_the_batch_in_training_and_running_statistics_in_tests(key):
    h = 3 + 2 * jax.random.normal(key, (50, 4, 5, 5))
    running = Statistics(jnp.zeros(4), jnp.ones(4))
    used, kept = batch_statistics(h, running, training=True)
    np.testing.assert_allclose(used.mean, h.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(kept.mean, 0.1 * used.mean, rtol=1e-6)
    np.testing.assert_allclose(kept.variance, 0.9 + 0.1 * used.variance, rtol=1e-6)
    assert batch_statistics(h, running, training=False) == (running, running)


@pytest.fixture(scope="module", params=NORMED)
def normed(request, key):
    """A model with statistics, and pictures."""
    model, statistics = build(request.param, key, (1, 8, 8), 10)
    return model, statistics, jax.random.normal(key, (16, 1, 8, 8))


def test_training_and_testing_differ_by_their_statistics_alone(normed):
    model, statistics, x = normed
    train = jax.jit(lambda statistics: model(x, statistics, True))
    test = jax.jit(lambda statistics: model(x, statistics, False))
    logits, settled = train(statistics)
    for _ in range(200):
        logits, settled = train(settled)
    tested, same = test(settled)
    np.testing.assert_allclose(tested, logits, rtol=1e-3, atol=1e-3)
    assert not np.allclose(test(statistics)[0], logits, rtol=1e-3, atol=1e-3)
    assert eqx.tree_equal(same, settled) and not eqx.tree_equal(settled, statistics)


def test_no_gradient_flows_into_the_running_statistics(normed):
    model, statistics, x = normed

    def total(model, which):
        return sum(leaf.sum() for leaf in jax.tree.leaves(which(model)))

    grad = jax.jit(jax.grad(total), static_argnums=1)
    kept = grad(model, lambda model: model(x, statistics, True)[1])
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(kept))
    logits = grad(model, lambda model: model(x, statistics, False)[0])
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(logits))


@pytest.mark.parametrize("side", [8, 7])
def test_pooling_by_shape_is_pooling_by_windows(key, side):
    h = jax.random.normal(key, (2, 3, side, side))
    window = (1, 1, 2, 2)

    def pooled(start, reduce):
        return jax.lax.reduce_window(h, start, reduce, window, window, "VALID")

    largest, total = pooled(-jnp.inf, jax.lax.max), pooled(0.0, jax.lax.add)
    np.testing.assert_array_equal(maximum_of_four(h), largest)
    np.testing.assert_allclose(mean_of_four(h), total / 4, atol=1e-6)


# ---------------------------------------------------------------- characters


@pytest.mark.parametrize("name", TALKERS)
def test_a_prediction_reads_what_came_before_and_nothing_after(key, name):
    model, _ = build(name, key, (12,), 9)
    x = jax.random.randint(key, (2, 12), 0, 9)
    changed = x.at[0, 5].set((x[0, 5] + 1) % 9)
    before, after = model(x), model(changed)
    np.testing.assert_array_equal(before[0, :5], after[0, :5])
    np.testing.assert_array_equal(before[1], after[1])
    assert (jnp.abs(before[0, 5:] - after[0, 5:]).max(-1) > 1e-6).all()


def test_the_rnn_is_its_equation(key):
    model, _ = build("rnn", key, (6,), 9)
    x = jax.random.randint(key, (3, 6), 0, 9)
    w, b = model.incoming.weight, model.incoming.bias
    h, logits = jnp.zeros((3, 128)), []
    for t in range(6):
        h = jnp.tanh(w[:, x[:, t]].T + h @ model.recurrent.weight.T + b)
        logits.append(h @ model.readout.weight.T + model.readout.bias)
    np.testing.assert_allclose(model(x), jnp.stack(logits, 1), atol=1e-5)


def test_the_lstm_has_the_cells_of_equinox(key):
    model, _ = build("lstm", key, (6,), 9)
    x = jax.random.randint(key, (3, 6), 0, 9)
    # Equinox has the gates in the order i, f, g, o.
    i, f, o, g = (slice(64 * n, 64 * n + 64) for n in range(4))

    def reordered(array):
        return jnp.concatenate([array[i], array[f], array[g], array[o]])

    cell = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias),
        eqx.nn.LSTMCell(9, 64, key=key),
        (
            reordered(model.incoming.weight),
            reordered(model.recurrent.weight),
            reordered(model.incoming.bias),
        ),
    )
    h, c, logits = jnp.zeros((3, 64)), jnp.zeros((3, 64)), []
    for t in range(6):
        h, c = jax.vmap(cell)(jax.nn.one_hot(x[:, t], 9), (h, c))
        logits.append(h @ model.readout.weight.T + model.readout.bias)
    np.testing.assert_allclose(model(x), jnp.stack(logits, 1), atol=1e-5)


def test_the_attention_of_the_transformer_is_softmax_over_what_came_before(key):
    attention = build("transformer", key, (5,), 9)[0].layers[0].attention
    s = jax.random.normal(key, (2, 5, 64))
    q, k, v = jnp.split(s @ attention.into.weight.T, 3, -1)
    gathered = []
    for head in range(4):
        part = slice(16 * head, 16 * head + 16)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / 4  # the root of 16
        scores = jnp.where(jnp.tri(5, dtype=bool), scores, -jnp.inf)
        gathered.append(jax.nn.softmax(scores) @ v[..., part])
    expected = jnp.concatenate(gathered, -1) @ attention.out.weight.T
    np.testing.assert_allclose(attention(s), expected + attention.out.bias, atol=1e-5)


@pytest.mark.parametrize("name", TALKERS)
def test_a_model_of_characters_learns_to_count(key, name):
    model, _ = build(name, key, (8,), 5)
    x = (jnp.arange(8) + jnp.arange(5)[:, None]) % 5
    optimizer = optax.adam(3e-3)

    def loss(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(x), (x + 1) % 5)
        return losses.mean()

    @jax.jit
    def step(model, state):
        value, grads = jax.value_and_grad(loss)(model)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(model, updates), state, value

    state, values = optimizer.init(model), []
    for _ in range(60):
        model, state, value = step(model, state)
        values.append(float(value))
    assert values[0] > 1.2 and values[-1] < 0.3

"""Models of sequences, against loops over neurons and steps written by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical.lab.models import MODELS

pytestmark = pytest.mark.grid(keep=3)

TIME, CHANNELS, OUTPUTS = 7, 4, 3
DECAY = np.exp(-1 / 20)
SEQUENTIAL = [name for name, model in MODELS.items() if "sequences" in model.reads]


@pytest.fixture(scope="module")
def x():
    drawn = np.random.default_rng(0).normal(size=(2, TIME, CHANNELS))
    return jnp.asarray(2 * drawn, jnp.float32)


def build(name):
    key = jax.random.key(0, impl="rbg")
    return MODELS[name].build(key, (TIME, CHANNELS), OUTPUTS)


call = jax.jit(lambda model, x: model(x))
spikes_of = jax.jit(lambda model, x: model.run(x)[1])


def spiking_by_hand(model, x, strength, kept):
    """Outputs and spikes of one sequence, neuron by neuron."""
    w, u, read = (
        np.asarray(p) for p in (model.incoming, model.recurrent, model.readout)
    )
    width = len(u)
    v, a, s = np.zeros(width), np.zeros(width), np.zeros(width)
    y, outputs, spikes = np.zeros(OUTPUTS), [], []
    for at in np.asarray(x):
        before = s.copy()
        for j in range(width):
            a[j] = kept * a[j] + before[j]
            drive = sum(at[i] * w[i, j] for i in range(CHANNELS))
            drive += sum(before[i] * u[i, j] for i in range(width) if before[i])
            v[j] = DECAY * v[j] + drive - before[j]
            s[j] = float(v[j] > 1 + strength[j] * a[j])
        y = DECAY * y + (1 - DECAY) * (s @ read)
        outputs.append(y + np.asarray(model.bias))
        spikes.append(s.copy())
    return np.array(outputs), np.array(spikes)


@pytest.mark.parametrize("name", ["lif", "alif"])
def test_the_spiking_networks_are_their_equations(name, x):
    model = build(name)
    outputs, spikes = jax.jit(lambda model, x: model.run(x))(model, x)
    kept, strength = np.exp(-1 / TIME), np.zeros(100)
    if name == "alif":
        strength[50:] = 20 * (1 - kept)
    for i in range(2):
        by_hand, fired = spiking_by_hand(model, x[i], strength, kept)
        np.testing.assert_array_equal(spikes[i], fired)
        np.testing.assert_allclose(outputs[i], by_hand, atol=1e-5)
    # Recurrence, resets and adaptation have all had an effect.
    assert 0.05 < spikes.mean() < 0.6 and (spikes.sum(1) > 1).any()
    other = np.zeros(100) if name == "alif" else np.ones(100)
    assert (spiking_by_hand(model, x[0], other, kept)[1] != spikes[0]).any()


def test_the_derivative_of_a_spike_is_the_triangle_also_in_the_reset(x):
    cut = eqx.tree_at(lambda m: m.recurrent, build("lif"), jnp.zeros((100, 100)))
    x = x[:1, :2]

    def last_spikes(w):
        return eqx.tree_at(lambda m: m.incoming, cut, w).run(x)[1][0, 1].sum()

    w, (first, second) = np.asarray(cut.incoming), np.asarray(x[0])
    v = first @ w
    v_next = DECAY * v + second @ w - (v > 1)

    def slope(v):
        return 0.3 * np.maximum(0, 1 - abs(v - 1))

    through = (DECAY - slope(v)) * first[:, None]
    expected = slope(v_next) * (second[:, None] + through)
    found = jax.jit(jax.grad(last_spikes))(cut.incoming)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ((slope(v) > 0) & (slope(v_next) > 0)).any()


def test_half_of_the_units_of_alif_adapt_and_the_others_are_those_of_lif(x):
    # From one key both have the same weights.
    with_, without = (
        spikes_of(
            eqx.tree_at(lambda m: m.recurrent, build(n), jnp.zeros((100, 100))), x
        )
        for n in ("alif", "lif")
    )
    np.testing.assert_array_equal(with_[..., :50], without[..., :50])
    assert with_[..., 50:].sum() < 0.9 * without[..., 50:].sum()


def test_the_gru_has_the_cells_of_equinox(x):
    model = build("gru")
    width = len(model.bias)
    model = eqx.tree_at(lambda m: m.bias, model, jnp.linspace(-1, 1, width))
    cell = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n),
        eqx.nn.GRUCell(CHANNELS, width, key=jax.random.key(0)),
        (
            model.incoming.weight,
            model.recurrent.weight,
            model.incoming.bias,
            model.bias,
        ),
    )

    @jax.jit
    def by_cell(x):
        h, outputs = jnp.zeros((2, width)), []
        for t in range(TIME):
            h = jax.vmap(cell)(x[:, t], h)
            outputs.append(jax.vmap(model.readout)(h))
        return jnp.stack(outputs, 1)

    np.testing.assert_allclose(call(model, x), by_cell(x), atol=1e-5)


def test_the_rnn_is_its_equation_on_sequences(x):
    model = build("rnn")
    h, outputs = np.zeros((2, 128)), []
    for t in range(TIME):
        drive = x[:, t] @ model.incoming.weight.T + model.incoming.bias
        h = np.tanh(drive + h @ np.asarray(model.recurrent.weight).T)
        outputs.append(h @ model.readout.weight.T + model.readout.bias)
    np.testing.assert_allclose(call(model, x), np.stack(outputs, 1), atol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_characters_are_sequences_in_one_hot_form(name):
    model = MODELS[name].build(jax.random.key(0, impl="rbg"), (5,), 6)
    x = jnp.array([[0, 3, 5, 1, 2]])
    both = jax.jit(lambda x: (model(x), model(jax.nn.one_hot(x, 6))))(x)
    np.testing.assert_allclose(*both, atol=1e-6)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_outputs_read_what_came_before_and_nothing_after(name, x):
    model = build(name)
    changed = x.at[0, 3].add(1.0)
    before, after = jax.jit(lambda a, b: (model(a), model(b)))(x, changed)
    np.testing.assert_array_equal(before[0, :3], after[0, :3])
    np.testing.assert_array_equal(before[1], after[1])
    assert (jnp.abs(before[0, 3:] - after[0, 3:]).max(-1) > 1e-6).all()

"""Recurrent layers are those of torch in value, gradient, state and loops.

With `python -m pytest -m slow tests/interop/torch`, where apical[torch] is installed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical

torch = pytest.importorskip("torch", reason="pip install apical[torch]")
interop = pytest.importorskip(
    "apical.interop.torch", reason="pip install apical[torch]", exc_type=ImportError
)
nn = torch.nn
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 2, 3)).astype(np.float32)
START = RNG.normal(size=(1, 2, 4)).astype(np.float32)
LAYERS = {
    "lstm": (nn.LSTM(3, 4), X),
    "lstm, layers, both directions": (
        nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True),
        X,
    ),
    "lstm, projected": (nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True), X),
    "lstm, no bias": (nn.LSTM(3, 4, bias=False), X),
    "lstm, no batch": (nn.LSTM(3, 4), X[:, 0]),
    "lstm, from a state": (nn.LSTM(3, 4), X, (START, START + 1)),
    "gru": (nn.GRU(3, 4, 2, bidirectional=True), X),
    "gru, no bias": (nn.GRU(3, 4, bias=False, batch_first=True), X),
    "gru, from a state": (nn.GRU(3, 4), X, START),
    "tanh": (nn.RNN(3, 4, 2), X),
    "relu": (nn.RNN(3, 4, nonlinearity="relu", bidirectional=True), X),
}


def weighted(module, *args):
    """Every entry of outputs and states, each with a factor of its own."""
    output, last = module(*args)
    states = last if isinstance(last, tuple) else (last,)
    return sum(
        (each * torch.arange(1.0, 1 + each.numel()).reshape(each.shape).cos()).sum()
        for each in (output, *states)
    )


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("case", LAYERS)
def test_value_and_gradients_are_those_of_torch(case):
    module, *args = LAYERS[case]
    params, buffers = interop.parameters(module)
    run = jax.jit(
        jax.value_and_grad(interop.loss_function(module, weighted), has_aux=True)
    )
    arrays = jax.tree.map(jnp.asarray, args)
    (value, _), grads = run(params, buffers, jax.random.key(0), *arrays)
    truth = weighted(module, *jax.tree.map(torch.from_numpy, args))
    module.zero_grad()
    truth.backward()
    assert float(value) == pytest.approx(float(truth.detach()), rel=1e-5, abs=1e-5)
    for name, p in module.named_parameters():
        assert np.allclose(grads[name], p.grad.numpy(), rtol=1e-4, atol=1e-5), name


def test_a_layer_is_one_loop_with_a_recurrent_synapse():
    module = nn.LSTM(3, 4)
    params, buffers = interop.parameters(module)
    loss_fn = interop.loss_function(module, lambda m, x: (m(x)[0] ** 2).mean())
    settings = {"has_aux": True, "batch_axes": (None, None, 1)}
    args = buffers, jax.random.key(0), jnp.asarray(X)
    circuit = apical.trace(loss_fn, **settings)(params, *args)
    assert len(circuit.synapses) == 2
    # Rules through time need the loop.
    learner = apical.value_and_grad(loss_fn, apical.rules.EProp(), **settings)
    state = learner.init(jax.random.key(1), params, *args)
    grads = learner(params, state, *args).grads
    assert all(np.abs(grad).max() > 0 for grad in grads.values())


def test_dropout_between_layers_is_drawn_from_the_key():
    module = nn.LSTM(3, 4, 2, dropout=0.5)
    params, buffers = interop.parameters(module)
    apply = interop.apply_function(module)
    first, other = (
        apply(params, buffers, jax.random.key(i), jnp.asarray(X))[0][0] for i in (0, 1)
    )
    assert not np.allclose(first, other)


def test_a_packed_sequence_is_refused():
    module = nn.LSTM(3, 4)
    params, buffers = interop.parameters(module)

    lengths = torch.tensor([5, 3])
    outside = nn.utils.rnn.pack_padded_sequence(torch.from_numpy(X), lengths)

    def inside(module, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]))
        return module(packed)[0].data.mean()

    def before(module, x):
        return module(outside)[0].data.mean() + x.mean()

    for loss, message in ((inside, "pack_padded"), (before, "a packed sequence")):
        loss_fn = interop.loss_function(module, loss)
        with pytest.raises(ValueError, match=message):
            loss_fn(params, buffers, jax.random.key(0), jnp.asarray(X))

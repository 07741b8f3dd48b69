"""What torch does, operation by operation, is what happens in JAX, or is refused.

With `python -m pytest -m slow tests/interop/torch`, where apical[torch-models] is
installed.
"""

import copy
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install apical[torch]")
interop = pytest.importorskip(
    "apical.interop.torch", reason="pip install apical[torch]", exc_type=ImportError
)
nn, F = torch.nn, torch.nn.functional
ENVIRONMENT = importlib.import_module("apical.interop.torch._run").ENVIRONMENT
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
CONSTANT = torch.arange(4.0)
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


class Scaled(nn.Module):
    """A function of x times a weight."""

    def __init__(self, function, shape=(4,)):
        super().__init__()
        self.function = function
        self.w = nn.Parameter(
            torch.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)
        )

    def forward(self, x):
        return self.function(x * self.w)


def squares(module, *args):
    return (module(*args) ** 2).mean()


def here(module, *args, loss=squares, key=KEY, **settings):
    """Value, gradients and buffers in JAX."""
    params, buffers = interop.parameters(module)
    loss_fn = interop.loss_function(module, loss, **settings)
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (value, new), grads = run(params, buffers, key, *map(jnp.asarray, args))
    return value, grads, new


def there(module, *args, loss=squares):
    """The same in torch; buffers are changed."""
    module.zero_grad()
    value = loss(module, *map(torch.from_numpy, args))
    value.backward()
    grads = {
        n: torch.zeros_like(p) if p.grad is None else p.grad
        for n, p in module.named_parameters()
    }
    return value.detach(), grads, dict(module.named_buffers())


def assert_same(module, *args, loss=squares):
    copied = copy.deepcopy(module)
    found = here(module, *args, loss=loss)
    value, grads, buffers = there(copied, *args, loss=loss)
    assert float(found[0]) == pytest.approx(float(value), rel=1e-5)
    for name, grad in grads.items():
        assert np.allclose(found[1][name], grad.numpy(), rtol=1e-4, atol=1e-6), name
    for name, buffer in buffers.items():
        assert np.allclose(found[2][name], buffer.numpy(), rtol=1e-5, atol=1e-6), name


def half_stopped(x):
    with torch.no_grad():
        y = x * 2
    return x * y


def changed_without_gradient(x):
    y = x * 2
    with torch.no_grad():
        y.clamp_(min=0.1)
        y[:, 1:3] *= 3
    return x * y


def changed_in_place(x):
    y = x.clone()
    y[:, 0] = 0
    y[:, 1] += x[:, 2]
    y.mul_(2)
    y[1:][0][:2] = 3
    y = y.view(-1).clone()
    y += 1
    return y


@pytest.mark.parametrize(
    "function",
    [
        half_stopped,
        changed_in_place,
        changed_without_gradient,
        lambda x: F.cosine_similarity(x, x.flip(1) + 1, dim=1),
        lambda x: x * x.detach(),
        lambda x: x * x.data,
        lambda x: x.half().type_as(x) + x,
        lambda x: x * CONSTANT + CONSTANT.sum(),
        lambda x: F.pad(x, (1, 2), value=3.0).unfold(1, 2, 2),
        lambda x: torch.zeros(6, 4).scatter_add(1, torch.tensor([[0, 1, 1, 2]] * 6), x),
        lambda x: F.cross_entropy(x, torch.tensor([0, 1, -100, 3, 1, 2])) * x,
    ],
)
def test_values_and_gradients_are_those_of_torch(function):
    assert_same(Scaled(function), X)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.BatchNorm1d(4), (6, 4)),
        (nn.BatchNorm1d(4).eval(), (6, 4)),
        (nn.BatchNorm2d(4, momentum=0.3), (3, 4, 2, 2)),
        (nn.BatchNorm1d(4, track_running_stats=False), (6, 4)),
        (nn.InstanceNorm1d(4, affine=True, track_running_stats=True), (3, 4, 5)),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), (6, 4)),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (6, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_statistics_and_other_buffers_move_as_in_torch(module, shape):
    x = np.random.default_rng(1).normal(1, 2, size=shape).astype(np.float32)
    before = {name: b.clone() for name, b in module.named_buffers()}
    new = here(module, x)[2]
    if module.training and "Norm" in type(module).__name__ and before:
        assert any(not np.allclose(new[n], b.numpy()) for n, b in before.items())
    for name, b in module.named_buffers():  # the module is as it was
        assert torch.equal(b, before[name])
    assert_same(module, x)


def noisy(x):
    return x + torch.randn(6, 4)


@pytest.mark.parametrize("function", [nn.Dropout(0.5), noisy, torch.rand_like])
def test_random_numbers_come_from_the_key(function):
    module = Scaled(function)
    first, again = here(module, X)[0], here(module, X)[0]
    other = here(module, X, key=jax.random.key(1))[0]
    assert first == again
    assert first != other
    # Not from torch's own generator, whose numbers a trace would keep for ever.
    state = torch.get_rng_state()
    here(module, X)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    module = Scaled(nn.Dropout(0.25), (1,))
    ones = np.ones((200, 200), np.float32)
    params, buffers = interop.parameters(module)
    apply = interop.apply_function(module)
    y, _ = apply(params, buffers, KEY, jnp.asarray(ones))
    assert float(jnp.mean(y == 0)) == pytest.approx(0.25, abs=0.01)
    assert float(y.max()) == pytest.approx(module.w.item() / 0.75)
    y, _ = apply(params, buffers, KEY, jnp.asarray(ones), training=False)
    assert np.allclose(y, ones * module.w.item())


class Rounded(torch.autograd.Function):
    """A surrogate derivative: the identity's."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.inner.register_forward_hook(self.keep)

    def keep(self, module, args, output):
        module.last = output

    def forward(self, x):
        return self.inner(x)


def added(a, b):
    a.add_(b)
    return a


def set_first(part, whole):
    part[0] = 0
    return whole


OUTSIDE = torch.ones(4, requires_grad=True)
KEPT = torch.zeros(4)
REFUSED = {
    "autograd.Function": (Scaled(Rounded.apply), r"Rounded is a torch\.autograd"),
    "attribute": (Remembers(), r"in its attribute inner\.last"),
    "generator": (
        Scaled(lambda x: x + torch.rand(4, generator=torch.Generator())),
        "torch.Generator",
    ),
    "view changed": (Scaled(lambda x: (x.view(-1).mul_(2), x)[1]), "shares memory"),
    "part changed": (Scaled(lambda x: added(*x.chunk(2))), "shares memory"),
    "base changed": (Scaled(lambda x: (x.t(), x.add_(1))[0]), "shares memory"),
    "view set": (Scaled(lambda x: set_first(x.view(-1), x)), "__setitem__.*shares"),
    "slice of a view set": (Scaled(lambda x: set_first(x.t()[1:], x)), "shares memory"),
    "kept outside": (Scaled(lambda x: x + KEPT.add_(1)), "changes a tensor of shape"),
    "not a parameter": (Scaled(lambda x: x * OUTSIDE), "is no parameter of the module"),
    "shape by data": (Scaled(lambda x: x[x > 0]), "numbers that are not known"),
    "branch by data": (Scaled(lambda x: x if x.sum() > 0 else -x), "not known"),
    "number by data": (Scaled(lambda x: x * x.sum().item()), r"item.*not known"),
    "no lowering": (Scaled(lambda x: F.adaptive_max_pool2d(x[None], 2)), "max_pool2d"),
    "nothing learned": (nn.ReLU(), "no parameter with requires_grad"),
    "64 bits": (nn.Linear(4, 3).double(), "float64, which JAX would round"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_go_wrong_is_refused_by_name(case):
    module, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        here(module, X)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_module_is_refused():
    linear = nn.Linear(4, 3)
    for module in (torch.jit.script(linear), torch.compile(linear)):
        with pytest.raises(ValueError, match="give the module"):
            interop.parameters(module)


def test_an_error_names_the_operation_and_the_module():
    inner = Scaled(lambda x: F.adaptive_max_pool2d(x[None], 2))
    module = nn.Sequential(nn.ReLU(), nn.Sequential(inner))
    with pytest.raises(ValueError, match=r"max_pool2d of torch in 1\.0 \(Scaled\)"):
        here(module, X)


def test_a_wrong_shape_stays_the_error_that_it_is():
    with pytest.raises((TypeError, ValueError)) as caught:
        here(nn.Sequential(nn.Linear(5, 3)), X)
    assert not isinstance(caught.value, interop.Refused)
    assert "in 0 (Linear)" in "".join(caught.value.__notes__)


def test_frozen_parameters_are_buffers_and_tied_ones_are_there_once():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[0].weight.requires_grad_(False)
    module[1].bias = module[0].bias
    params, buffers = interop.parameters(module)
    assert sorted(params) == ["0.bias", "1.weight"]
    assert sorted(buffers) == ["0.weight"]
    _, grads, new = here(module, X)
    assert sorted(grads) == ["0.bias", "1.weight"]
    assert np.array_equal(new["0.weight"], module[0].weight.numpy())
    assert_same_learned(module, grads)


def assert_same_learned(module, grads):
    there_grads = there(module, X)[1]
    for name, grad in grads.items():
        assert np.allclose(grad, there_grads[name].numpy(), rtol=1e-4, atol=1e-6)


def test_weights_written_back_are_those_of_the_module():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).to(torch.bfloat16)
    params, buffers = interop.parameters(module)
    assert params["0.weight"].dtype == jnp.bfloat16
    params = jax.tree.map(lambda w: w + 1, params)
    buffers = {name: b + 2 for name, b in buffers.items()}
    interop.write_back(module, params, buffers)
    again = interop.parameters(module)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, again, (params, buffers)))
    assert module[1].num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("bias"), r"missing are \['bias'\]"),
        (lambda p: p.update(other=jnp.ones(1)), r"unknown are \['other'\]"),
        (lambda p: p.update(bias=jnp.ones(4)), r"bias has the shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_not_written(change, message):
    module = nn.Linear(4, 3)
    before = {name: p.clone() for name, p in module.named_parameters()}
    params = {name: 2 * p for name, p in interop.parameters(module)[0].items()}
    change(params)
    with pytest.raises(ValueError, match=message):
        interop.write_back(module, params)
    assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())


def test_arrays_do_not_share_memory_with_the_module():
    module = nn.Linear(64, 64)
    params, _ = interop.parameters(module)
    before = np.array(params["weight"])
    with torch.no_grad():
        module.weight.zero_()
    assert np.array_equal(params["weight"], before)


def test_modes_are_those_at_the_time_of_the_conversion():
    module = nn.Sequential(Scaled(nn.Identity()), nn.Dropout(0.5), nn.Dropout(0.5))
    module[1].eval()
    params, buffers = interop.parameters(module)
    apply = interop.apply_function(module)
    module.eval()
    y, _ = apply(params, buffers, KEY, jnp.ones((100, 4)))
    assert 0.4 < float(jnp.mean(y == 0)) < 0.6
    assert not module.training


LAYERS = {
    "grouped transposed convolution": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1),
        (2, 4, 5, 5),
    ),
    "convolution": (nn.Conv2d(4, 6, 3, groups=2, padding="same"), (2, 4, 7, 7)),
    "one axis": (nn.ConvTranspose1d(4, 6, 3, stride=2, dilation=2), (2, 4, 5)),
    "pooling to the edge": (nn.AvgPool2d(2, ceil_mode=True), (2, 4, 7, 7)),
    "pooling over it": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 4, 7, 6)),
    "without padding": (nn.AvgPool2d(3, 2, 1, True, False), (2, 4, 6, 7)),
    "pooling a row": (nn.AvgPool1d(3, 2, 1), (2, 4, 7)),
}


class After(nn.Module):
    """A layer on a multiple of its input, so that something is learned."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.w = layer, nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.layer(x * self.w)


@pytest.mark.parametrize("case", LAYERS)
def test_layers_of_windows_are_those_of_torch(case):
    layer, shape = LAYERS[case]
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert interop.check(After(layer), squares, x) < 1e-5


def test_a_check_finds_what_differs_by_name(monkeypatch):
    module = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 2)))
    assert interop.check(module, squares, X) < 1e-5
    # A wrong operation, of which there is one in torchax's table.
    wrong = ENVIRONMENT.override_op_definition
    wrong(torch.ops.aten.tanh.default, lambda x: x.apply_jax(lambda x: 0.9 * x))
    try:
        with pytest.raises(ValueError, match=r"output of 1\.0 \(Tanh\) differs"):
            interop.check(module, squares, X)
    finally:
        wrong(torch.ops.aten.tanh.default, lambda x: x.apply_jax(jnp.tanh))


def test_a_check_needs_a_module_without_random_numbers():
    module = Scaled(nn.Dropout(0.5))
    assert interop.check(module, squares, X) < 1e-5
    with pytest.raises(ValueError, match="draws random numbers"):
        interop.check(module, squares, X, training=True)

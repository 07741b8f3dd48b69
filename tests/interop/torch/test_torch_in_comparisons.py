"""`apical compare --model module:factory` takes a module of torch as any other model.

With `python -m pytest -m slow tests/interop/torch`, where apical[torch] is installed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical import lab
from apical.lab.models import build_model, find_model

torch = pytest.importorskip("torch", reason="pip install apical[torch]")
interop = pytest.importorskip(
    "apical.interop.torch", reason="pip install apical[torch]", exc_type=ImportError
)
nn = torch.nn
pytestmark = pytest.mark.slow

SHAPE, CLASSES = (1, 6, 6), 3


def factory(key, shape, classes):
    """A convolution with batch norm and dropout."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4 * height * width, classes),
    )


def built(key):
    """The model and its state, as a comparison builds them."""
    build = find_model(f"{__name__}:factory", "pictures").build
    return build_model(build, key, SHAPE, CLASSES)


@pytest.fixture
def data(tmp_path):
    """Pictures of three kinds: noise on three patterns."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(3, *SHAPE))
    arrays = {}
    for part, number in (("train", 192), ("test", 64)):
        y = np.arange(number) % CLASSES
        x = patterns[y] + 0.5 * rng.normal(size=(number, *SHAPE))
        arrays |= {f"{part}_x": x.astype(np.float32), f"{part}_y": y}
    np.savez(tmp_path / "patterns.npz", **arrays)
    return str(tmp_path / "patterns.npz")


def test_weights_depend_on_the_key_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = built(jax.random.key(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, _ = built(jax.random.key(0))
    other, _ = built(jax.random.key(1))
    assert jnp.array_equal(first.params["0.weight"], again.params["0.weight"])
    assert not jnp.array_equal(first.params["0.weight"], other.params["0.weight"])


def test_a_model_moves_its_state_in_training_alone():
    model, state = built(jax.random.key(0))
    x = jnp.ones((4, *SHAPE))
    _, after = model(x, state, False)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, state, after))
    _, after = model(x, state, True)
    assert not jnp.array_equal(state["key"], after["key"])
    assert after["buffers"]["1.num_batches_tracked"] == 1


def test_rules_are_compared_on_a_module_of_torch(data):
    trained = {}

    def keep(event):
        trained[event.rule] = event.trained

    def run():
        return lab.compare(
            data=data,
            models={"torch": factory},
            rules=(
                "backpropagation",
                "feedback-alignment",
                "direct-feedback-alignment",
            ),
            epochs=4,
            seeds=2,
            batch_size=32,
            callback=keep,
        )

    found = run()
    last = [line for line in found.records if line["epoch"] == 4]
    assert len(last) == 6
    assert all(line["test_accuracy"] > 0.8 for line in last)
    # The trained model is a module of torch again, and scores as it did in JAX.
    model, state = trained["backpropagation"][0]
    module = model.to_module(state).eval()
    assert isinstance(module, nn.Module)
    arrays = np.load(data)
    with torch.no_grad():
        guess = module(torch.from_numpy(arrays["test_x"])).argmax(1).numpy()
    score = np.mean(guess == arrays["test_y"])
    assert score == pytest.approx(last[0]["test_accuracy"], abs=0.02)


def test_a_model_that_fails_names_the_operation(data):
    def failing(key, shape, classes):
        class Failing(nn.Module):
            def __init__(self):
                super().__init__()
                self.readout = nn.Linear(4 * shape[0], classes)

            def forward(self, x):
                return self.readout(nn.functional.adaptive_max_pool2d(x, 2).flatten(1))

        return Failing()

    with pytest.raises(lab.LabError, match="max_pool2d"):
        lab.compare(data=data, models={"x": failing}, rules=("backpropagation",))


def test_marks_in_torch_are_marks_of_the_circuit():
    class Marked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x):
            h = interop.node(torch.tanh(self.a(x)), "hidden")
            return interop.output(self.b(h))

    module = Marked()
    loss_fn = interop.loss_function(module, lambda m, x: (m(x) ** 2).mean())
    params, buffers = interop.parameters(module)
    circuit = apical.trace(loss_fn, has_aux=True, batch_axes=(None, None, 0))(
        params, buffers, jax.random.key(0), jnp.ones((5, 4))
    )
    assert "hidden" in [node.name for node in circuit.nodes]
    assert isinstance(interop.node(torch.ones(2), "outside"), torch.Tensor)

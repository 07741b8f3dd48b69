"""The user's own models: found by `module:factory`, checked before training."""

import sys
from types import SimpleNamespace

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.lab_files import blank
from support.lab_runs import compared

from apical.lab import LabError
from apical.lab.models import MODELS, check_model, find_model

SHAPE, CLASSES = (1, 4, 4), 3
DATA = blank("pictures", SHAPE, CLASSES)


def linear(key, shape, classes):
    """The smallest model: one matrix."""
    features = int(np.prod(shape))
    weights = jax.random.normal(key, (features, classes))
    return Partial(lambda w, x: x.reshape(len(x), -1) @ w, weights)


def of_flax(key, shape, classes):
    """A model written with flax."""
    module = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(classes)])
    return Partial(module.apply, module.init(key, jnp.zeros((1, *shape))))


def of_haiku(key, shape, classes):
    """A model written with haiku."""
    forward = hk.without_apply_rng(
        hk.transform(lambda x: hk.Sequential([hk.Flatten(), hk.Linear(classes)])(x))
    )
    return Partial(forward.apply, forward.init(key, jnp.zeros((1, *shape))))


def of_equinox(key, shape, classes):
    """A model of equinox, in which functions lie beside the arrays."""
    mlp = eqx.nn.MLP(int(np.prod(shape)), classes, 8, 1, key=key)
    return Partial(lambda mlp, x: jax.vmap(mlp)(x.reshape(len(x), -1)), mlp)


FACTORIES = [linear, of_flax, of_haiku, of_equinox]
COUNT = 3
NESTED = SimpleNamespace(linear=linear)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_model_of_any_library_is_built_checked_and_learns(key, factory):
    model = find_model(f"{__name__}:{factory.__name__}", "pictures")
    assert (model.reads, model.steps_per_call) == (("pictures",), 1)
    built = model.build(key, SHAPE, CLASSES)
    check_model(built, None, DATA)
    arrays, static = eqx.partition(built, eqx.is_array)
    x, y = jax.random.normal(key, (5, *SHAPE)), jnp.arange(5) % CLASSES

    def loss(arrays):
        logits = eqx.combine(arrays, static)(x)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(5), y])

    moved = jax.tree.map(lambda w, g: w - 0.05 * g, arrays, jax.grad(loss)(arrays))
    assert loss(moved) < loss(arrays)


def test_a_factory_may_lie_inside_something():
    assert find_model(f"{__name__}:NESTED.linear", "pictures").build is linear


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch, key):
    (tmp_path / "here_alone.py").write_text(
        "import jax\n"
        "from jax.tree_util import Partial\n"
        "def make(key, shape, classes):\n"
        "    w = jax.random.normal(key, (shape[0], classes))\n"
        "    return Partial(lambda w, x: x @ w, w)\n"
    )
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    with pytest.raises(LabError, match="there is no module here_alone in"):
        find_model("here_alone:make", "vectors")
    monkeypatch.chdir(tmp_path)
    built = find_model("here_alone:make", "vectors").build(key, (4,), 3)
    check_model(built, None, blank("vectors", (4,), 3))
    del sys.modules["here_alone"]


def test_a_model_of_the_lab_is_found_by_its_name():
    assert find_model(" rnn", "characters") is MODELS["rnn"]


def test_of_models_that_convolve_one_step_is_made_at_a_time():
    for model in MODELS.values():
        assert (model.steps_per_call == 1) == model.convolves
    assert find_model(f"{__name__}:linear", "pictures").convolves
    assert not find_model(f"{__name__}:linear", "vectors").convolves


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("resnett", "pictures", "no model is called 'resnett'. Did you mean 'resnet'"),
        (
            "rnn",
            "pictures",
            "reads characters and sequences, not pictures. .*: mlp, mlp-tanh, cnn",
        ),
        (
            "mlp",
            "characters",
            "reads pictures and vectors, not .*: rnn, lstm, gru, tra",
        ),
        (
            "no_such_module:f",
            "vectors",
            "there is no module no_such_module in .* or am",
        ),
        ("apical.no_such:f", "vectors", "there is no module apical.no_such in"),
        (":f", "vectors", "'' is not the name of a module"),
        ("my-module:f", "vectors", "'my-module' is not the name of a module"),
        (f"{__name__}:maker", "vectors", "has no maker. Write module:attribute"),
        (f"{__name__}:", "vectors", "has no . Write module:attribute"),
        (f"{__name__}:COUNT", "vectors", "COUNT is of the type int, not a function of"),
    ],
)
def test_what_cannot_be_found_is_refused_with_the_reason(name, kind, message):
    with pytest.raises(LabError, match=message):
        find_model(name, kind)


def test_a_package_that_the_module_lacks_is_told_from_the_module(tmp_path, monkeypatch):
    (tmp_path / "lacks_one.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LabError, match="lacks_one needs the module no_such_package"):
        find_model("lacks_one:make", "vectors")


W = jnp.ones((16, CLASSES))


def on(w, x):
    """The logits of the smallest model."""
    return x.reshape(len(x), -1) @ w


def counted(w, x, statistics, training):
    """The smallest model with statistics."""
    return on(w, x), statistics + training


RIGHT = [(Partial(on, W), None), (Partial(counted, W), jnp.zeros(()))]


@pytest.mark.parametrize(("model", "statistics"), RIGHT)
def test_a_right_model_passes(model, statistics):
    check_model(model, statistics, DATA)


@pytest.mark.parametrize(
    ("model", "statistics", "message"),
    [
        (lambda x: on(W, x), None, "no floating-point array .* returned a function"),
        (Partial(on, W.astype(int)), None, "no floating-point array to learn"),
        (Partial(on, W[:, :2]), None, r"gives \(2, 2\) for 2 .* shape \(2, 3\), \(exa"),
        (Partial(on, W[:3]), None, r"failed when called as model\(x\) .* TypeErr"),
        (Partial(lambda w, x: (on(w, x),), W), None, "gives a tuple for 2 examples"),
        (Partial(lambda w, x: on(w, x) > 0, W), None, "outputs of the type bool"),
        (Partial(lambda w, x, s, t: on(w, x), W), 0.0, "must return the logits and"),
        (
            Partial(lambda w, x, s, t: (on(w, x), (s, s)), W),
            jnp.zeros(()),
            "must return statistics of the form that it was given",
        ),
        ({"w": W}, None, r"failed when called as model\(x\) .*not callable"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(model, statistics, message):
    with pytest.raises(LabError, match=f"mine.*{message}"):
        check_model(model, statistics, DATA, name="mine")


def test_logits_of_characters_have_an_axis_of_time():
    data = blank("characters", (6,), CLASSES)
    table = jnp.ones((CLASSES, CLASSES))
    check_model(Partial(lambda w, x: w[x], table), None, data)
    with pytest.raises(LabError, match=r"shape \(2, 6, 3\), \(examples, time, classes"):
        check_model(Partial(lambda w, x: w[x[:, 0]], table), None, data)


def test_a_model_of_16_bits_is_trained_measured_and_kept(tmp_path):
    def halved(key, shape, classes):
        first, second = jax.random.split(key)
        sizes = (int(np.prod(shape)), 8), (8, classes)
        weights = [
            (jax.random.normal(k, ends) / ends[0] ** 0.5).astype(jnp.bfloat16)
            for k, ends in zip((first, second), sizes, strict=True)
        ]

        def forward(weights, x):
            hidden = jnp.tanh(x.reshape(len(x), -1).astype(jnp.bfloat16) @ weights[0])
            return hidden @ weights[1]

        return Partial(forward, weights)

    names = ["backpropagation", "feedback-alignment", "predictive-coding"]
    settings = {"models": {"halved": halved}, "rules": names, "out": tmp_path / "out"}
    result = compared(**settings)
    assert {line["status"] for line in result.records} == {"ok"}
    alignment = {line["rule"]: line["alignment"] for line in result.records}
    assert 0 < alignment["feedback-alignment"] < 0.99
    assert 0.99 < alignment["predictive-coding"] <= 1
    assert compared(**settings, resume=True).records == result.records

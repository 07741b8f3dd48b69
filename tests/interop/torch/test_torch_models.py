"""Models of torchvision, torch and Hugging Face learn by rules, as in torch.

With `python -m pytest -m slow tests/interop/torch`, where apical[torch-models] is
installed.
"""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apical

models = pytest.importorskip(
    "support.torch_models",
    reason="pip install apical[torch-models]",
    exc_type=ImportError,
)
interop = pytest.importorskip(
    "apical.interop.torch", reason="pip install apical[torch]", exc_type=ImportError
)
pytestmark = pytest.mark.slow


@pytest.fixture(
    params=models.BUILDERS, ids=lambda build: build.__name__, scope="module"
)
def found(request):
    """The problem, its loss function in JAX, parameters, arguments and settings."""
    problem = models.problem(request.param)
    loss_fn = interop.loss_function(problem.module, problem.loss)
    params, buffers = interop.parameters(problem.module)
    args = buffers, jax.random.key(0), *map(jnp.asarray, problem.args)
    axes = (None, None, *[0] * len(problem.args))
    return problem, loss_fn, params, args, {"has_aux": True, "batch_axes": axes}


def learned(found, rule):
    _, loss_fn, params, args, settings = found
    learner = apical.value_and_grad(loss_fn, rule, **settings)
    state = learner.init(jax.random.key(1), params, *args)
    return jax.jit(learner)(params, state, *args)


def error(grad, truth, scale):
    return np.abs(np.asarray(grad) - truth).max() / scale


def test_the_synapses_are_its_linear_layers_and_convolutions(found):
    problem, loss_fn, params, args, settings = found
    circuit = apical.trace(loss_fn, **settings)(params, *args)
    assert sorted(each.name for each in circuit.synapses) == sorted(problem.synapses)


def test_coding_in_one_sweep_is_the_autograd_of_torch(found):
    problem = found[0]
    credit = learned(found, apical.rules.PredictiveCoding())
    # A copy: batch norm moves its statistics.
    module = copy.deepcopy(problem.module)
    value, truth = models.gradients(module, problem.loss, problem.args)
    assert abs(float(credit.value) - value) < 1e-4
    scale = max(np.abs(grad).max() for grad in truth.values())
    assert {n: error(credit.grads[n], truth[n], scale) for n in truth} == {
        n: pytest.approx(0, abs=1e-4) for n in truth
    }
    after = dict(module.named_buffers())
    for name, value in credit.aux.items():
        if name in after:
            assert np.allclose(value, after[name].numpy(), rtol=1e-4, atol=1e-5), name


def test_feedback_alignment_differs_below_the_readout(found):
    problem = found[0]
    credit = learned(found, apical.rules.FeedbackAlignment())
    module = copy.deepcopy(problem.module)
    _, truth = models.gradients(module, problem.loss, problem.args)
    apart = {
        name: error(credit.grads[name], truth[name], np.abs(truth[name]).max())
        for name in problem.synapses
    }
    assert all(apart[name] < 1e-3 for name in problem.read)
    assert all(apart[name] > 0.1 for name in set(apart) - set(problem.read))


def test_three_steps_lower_the_loss_and_go_back_into_the_module(found):
    problem, loss_fn, params, args, settings = found
    rule = apical.rules.FeedbackAlignment()
    step = apical.train_step(loss_fn, rule, optax.adam(1e-3), **settings)
    state, step = step.init(jax.random.key(1), params, *args), jax.jit(step)
    values = []
    for _ in range(4):
        params, state, credit = step(params, state, *args)
        values.append(float(credit.value))
    assert values[3] < values[0]
    module = copy.deepcopy(problem.module)
    # The statistics of the start: the loss in JAX above is not computed with new ones.
    interop.write_back(module, params, args[0])
    value, _ = models.gradients(module, problem.loss, problem.args)
    assert value == pytest.approx(float(loss_fn(params, *args)[0]), abs=1e-3)

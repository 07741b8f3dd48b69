"""The path kernel: an identity for any rule, against numpy and closed forms."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import backward, batch, layers, loss_fn, network

import apical
from apical import rules
from apical.measure import path_kernel

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def problem(outputs=1, examples=6):
    """A tanh network of two hidden layers, training examples, and test inputs."""
    params = layers(3, 4, 4, outputs)
    return params, batch(examples, 3, outputs), batch(5, 3, 1, seed=2)[0]


def found(
    rule, params, data, predict, rate=0.25, steps=8, loss=loss_fn, spec=None, **options
):
    learner = apical.value_and_grad(loss, rule, **(spec or {}))
    state = learner.init(KEY, params, *data)
    if "batches" not in options:
        options["steps"] = steps
    measure = path_kernel(learner, predict, optax.sgd(rate), **options)
    return measure(params, state, *data), state


FREE = rules.PredictiveCoding(
    6, prediction="free", inference=rules.ConjugateGradients()
)
RULES = {
    "backpropagation": rules.Backpropagation(),
    "feedback alignment": rules.FeedbackAlignment(),
    "sign concordance": rules.SignConcordance(),
    "direct feedback": rules.DirectFeedbackAlignment(),
    "fixed predictions": rules.PredictiveCoding(inference=rules.Sweep()),
    "free predictions": FREE,
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_contributions_sum_to_the_change_of_the_predictions_for_any_rule(rule):
    params, data, x = problem()
    result, _ = found(rule, params, data, lambda p: network(p, x)[:, 0])
    # Trained again, by the training step itself.
    step = apical.train_step(loss_fn, rule, optax.sgd(0.25))
    trained, current = params, step.init(KEY, params, *data)
    train = jax.jit(step)
    for _ in range(8):
        trained, current, _ = train(trained, current, *data)
    moved = network(trained, x)[:, 0] - network(params, x)[:, 0]
    assert np.linalg.norm(moved) > 0.1
    np.testing.assert_allclose(result.change.sum(axis=1), moved, rtol=1e-10, atol=1e-12)
    assert result.error < 1e-10
    assert result.change.shape == result.kernel.shape == (5, 6)
    assert result.loss_slope.shape == (6,) and result.loss.shape == (8,)


def test_euler_steps_in_place_of_quadrature_are_refused(monkeypatch):
    """The control: the derivative at the start of each update alone."""
    params, data, x = problem()
    ends = np.array([-1.0]), np.array([2.0])
    monkeypatch.setattr(np.polynomial.legendre, "leggauss", lambda points: ends)
    with pytest.raises(ValueError, match=r"contributions miss the change .* by \d+ %"):
        found(rules.Backpropagation(), params, data, lambda p: network(p, x), rate=1.0)


def test_contributions_and_kernel_equal_a_loop_in_numpy():
    """Feedback alignment; derivatives of predictions by differences."""
    params, (x, y), tests = problem()
    rate, steps, rule = 0.25, 3, rules.FeedbackAlignment()
    result, state = found(
        rule, params, (x, y), lambda p: network(p, tests)[:, 0], rate, steps
    )
    copies = [
        c["w"] if c["w"] is not None else p["w"]
        for c, p in zip(state.feedback, params, strict=True)
    ]
    here = jax.tree.map(np.asarray, params)
    places, weights = np.polynomial.legendre.leggauss(8)
    change, kernel = np.zeros((5, 6)), np.zeros((5, 6))
    output = jax.jit(lambda p: network(p, tests)[:, 0])
    for _ in range(steps):
        one = [backward(here, copies, x[i : i + 1], y[i : i + 1])[0] for i in range(6)]
        step = jax.tree.map(lambda *g: -rate * sum(g) / 6, *one)
        slopes = (network(here, x) - y)[:, 0]
        for i in range(6):
            for place, weight in zip((places + 1) / 2, weights / 2, strict=True):

                def moved(size, i=i, place=place, here=here, step=step, one=one):
                    return jax.tree.map(
                        lambda w, s, g: w + place * s + size * g, here, step, one[i]
                    )

                slope = (output(moved(1e-5)) - output(moved(-1e-5))) / 2e-5
                change[:, i] -= weight * rate * slope / 6
                kernel[:, i] += weight * rate * slope / slopes[i]
        here = jax.tree.map(np.add, here, step)
    np.testing.assert_allclose(result.change, change, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result.kernel, kernel, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------- closed forms


def linear(w, x, y):
    return jnp.mean((x @ w - y) ** 2) / 2


def test_the_kernel_of_a_linear_model_is_the_product_of_inputs():
    """Discrete steps: r_k = (1 - h K / N)^k r_0 and change = -h/N K(x, .) sum_k r_k."""
    (x, y), tests = batch(5, 7, 1), batch(4, 7, 1, seed=2)[0]
    w, rate, steps = jnp.ones(7) / 7, 0.3, 10
    result, _ = found(
        *(rules.Backpropagation(), w, (x, y[:, 0]), lambda w: tests @ w, rate, steps),
        loss=linear,
    )
    gram, cross, start = x @ x.T, np.asarray(tests @ x.T), x @ w - y[:, 0]
    shrink = np.eye(5) - rate * gram / 5
    residuals = [np.linalg.matrix_power(shrink, k) @ start for k in range(steps)]
    np.testing.assert_allclose(result.kernel, steps * rate * cross, rtol=1e-10)
    expected = -rate / 5 * cross * np.sum(residuals, axis=0)
    np.testing.assert_allclose(result.change, expected, rtol=1e-9, atol=1e-13)
    mean = np.mean(residuals, axis=0)
    np.testing.assert_allclose(result.loss_slope, mean, rtol=1e-9, atol=1e-13)
    # A linear model is a kernel machine: the coefficients do not depend on x.
    np.testing.assert_allclose(result.coefficients, mean / 5, rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(result.kernel_machine, result.final, rtol=1e-8)


def test_small_steps_give_the_closed_form_of_gradient_flow():
    """r(t) = exp(-K t / N) r_0; the distance to it halves with the step."""
    (x, y), tests = batch(5, 7, 1), batch(4, 7, 1, seed=2)[0]
    w, time = jnp.zeros(7), 2.0
    values, vectors = np.linalg.eigh(np.asarray(x @ x.T) / 5)
    area = vectors @ np.diag((1 - np.exp(-values * time)) / values) @ vectors.T
    expected = np.asarray(tests @ x.T) * (area @ np.asarray(y[:, 0])) / 5
    missed = []
    for steps in (50, 100):
        result, _ = found(
            *(rules.Backpropagation(), w, (x, y[:, 0]), lambda w: tests @ w),
            *(time / steps, steps, linear),
        )
        missed.append(np.linalg.norm(result.change - expected))
    assert missed[1] < 0.02 * np.linalg.norm(expected)
    assert 1.8 < missed[0] / missed[1] < 2.2


def test_a_net_that_is_not_linear_is_no_kernel_machine():
    params, data, x = problem()
    result, _ = found(
        rules.Backpropagation(), params, data, lambda p: network(p, x)[:, 0], 1.0, 20
    )
    moved = np.linalg.norm(result.final - result.initial)
    assert np.linalg.norm(result.kernel_machine - result.final) > 0.02 * moved


# ---------------------------------------------------------------- several outputs


def entropy(w, x, y):
    logits = x @ w
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))


def test_the_kernel_of_a_softmax_regression_is_block_diagonal():
    x, tests, y = batch(5, 4, 1)[0], batch(3, 4, 1, seed=2)[0], jnp.arange(5) % 3
    w, rate, steps = layers(4, 3)[0]["w"], 0.5, 6
    result, _ = found(
        *(rules.Backpropagation(), w, (x, y), lambda w: tests @ w, rate, steps, entropy)
    )
    expected = steps * rate * np.einsum("xi,oc->xoic", tests @ x.T, np.eye(3))
    np.testing.assert_allclose(result.kernel, expected, rtol=1e-9, atol=1e-12)
    w_k, slopes = w, []
    for _ in range(steps):
        slopes.append(jax.nn.softmax(x @ w_k) - jax.nn.one_hot(y, 3))
        w_k -= rate * x.T @ slopes[-1] / 5
    np.testing.assert_allclose(result.loss_slope, np.mean(slopes, axis=0), rtol=1e-9)
    np.testing.assert_allclose(result.kernel_machine, result.final, rtol=1e-7)


def deep_entropy(params, x, y):
    return entropy(jnp.eye(3), network(params, x), y)


CLASSES = jnp.arange(6) % 3


@pytest.mark.parametrize("name", ["feedback alignment", "direct feedback"])
def test_a_rule_that_is_linear_in_the_slope_has_a_matrix(name):
    params, (x, _), tests = problem(3)
    result, _ = found(
        *(RULES[name], params, (x, CLASSES), lambda p: network(p, tests)),
        *(0.05, 1, deep_entropy),
    )
    assert result.kernel.shape == (5, 3, 6, 3) and result.error < 1e-10
    # In one step L' is that of its start, so the matrix gives the contributions.
    pulled = -jnp.einsum("xoic,ic->xoi", result.kernel, result.loss_slope) / 6
    np.testing.assert_allclose(pulled, result.change, rtol=1e-8, atol=1e-12)


def test_a_rule_that_is_not_linear_in_the_slope_has_contributions_alone():
    params, (x, _), tests = problem(3)
    given = FREE, params, (x, CLASSES), lambda p: network(p, tests)
    with pytest.raises(ValueError, match=r"K is not a matrix .*kernel=False"):
        found(*given, loss=deep_entropy)
    result, _ = found(*given, 0.25, 4, deep_entropy, kernel=False)
    assert result.error < 1e-10 and result.kernel is None
    with pytest.raises(ValueError, match="There is no kernel"):
        _ = result.kernel_machine


# ------------------------------------------------------- descriptions and batches


def test_batches_contribute_by_the_updates_that_they_took_part_in():
    params, data, x = problem()
    batches = np.array([[0, 1], [2, 3], [0, 4]] * 2)
    result, _ = found(
        *(rules.FeedbackAlignment(), params, data, lambda p: network(p, x)[:, 0]),
        batches=batches,
    )
    assert result.error < 1e-10
    assert np.isnan(result.loss_slope[5]) and not np.isnan(result.loss_slope[:5]).any()
    assert np.all(result.change[:, 5] == 0) and np.all(result.change[:, :5] != 0)


def test_the_kernel_of_backpropagation_is_the_tangent_kernel():
    """At the start of a training whose rate is small."""
    params, (x, y), tests = problem()
    given = rules.Backpropagation(), params, (x, y), lambda p: network(p, tests)[:, 0]
    result, _ = found(*given, 1e-6, batches=[[0, 1]])

    def derivative(x):
        tree = jax.grad(lambda p: network(p, x[None])[0, 0])(params)
        return jax.flatten_util.ravel_pytree(tree)[0]

    tangent = jax.vmap(derivative)(tests) @ jax.vmap(derivative)(x).T
    np.testing.assert_allclose(result.kernel[:, :2] / 1e-6, tangent[:, :2], rtol=1e-4)
    assert np.all(result.kernel[:, 2:] == 0)


def test_the_description_of_the_loss_and_the_chunks_do_not_matter():
    params, (x, y), tests = problem()

    def summed(params, scale, x, y):
        return scale * loss_fn(params, x.T, y) * len(y), x

    given = rules.FeedbackAlignment(), params
    predict = {"predict": lambda p: network(p, tests)}
    mean, _ = found(*given, (x, y), **predict)
    description = {"reduction": "sum", "has_aux": True, "batch_axes": (None, 1, 0)}
    total, _ = found(
        *(*given, (jnp.float64(1 / 6), x.T, y)),
        **(predict | {"loss": summed, "spec": description, "chunk_size": 4}),
    )
    assert mean.change.shape == (5, 1, 6)
    np.testing.assert_allclose(total.change, mean.change, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(total.error, 0, atol=1e-10)


def test_rates_may_follow_a_schedule_and_differ_among_leaves():
    params, data, x = problem()
    rates = {"w": optax.sgd(optax.cosine_decay_schedule(0.3, 8)), "b": optax.sgd(0.1)}
    labels = [{"w": "w", "b": "b"}] * 3
    learner = apical.value_and_grad(loss_fn, rules.FeedbackAlignment())
    optimizer = optax.multi_transform(rates, labels)
    measure = path_kernel(learner, lambda p: network(p, x), optimizer, steps=8)
    result = measure(params, learner.init(KEY, params, *data), *data)
    assert result.error < 1e-10
    assert measure(result.params, result.state, *data).loss[0] < result.loss[-1]


def test_noise_that_a_whole_batch_shares_is_shared_by_its_examples():
    params, data, x = problem()
    result, _ = found(
        rules.WeightPerturbation(), params, data, lambda p: network(p, x), kernel=False
    )
    assert result.error < 1e-3  # of a difference of losses


def test_predictions_with_a_reverse_rule_of_their_own_are_followed():
    params, data, x = problem()

    @jax.custom_vjp
    def tanh(x):
        return jnp.tanh(x)

    tanh.defvjp(lambda x: (jnp.tanh(x),) * 2, lambda y, g: (g * (1 - y**2),))
    given = rules.Backpropagation(), params, data
    plain, _ = found(*given, lambda p: jnp.tanh(network(p, x)), steps=2)
    own, _ = found(*given, lambda p: tanh(network(p, x)), steps=2)
    np.testing.assert_allclose(own.change, plain.change, rtol=1e-9, atol=1e-13)


def hinge(params, x, y):
    return jnp.mean(jax.nn.relu(1 - y * network(params, x)))


def test_the_kernel_is_unknown_where_a_ratio_has_a_slope_of_zero():
    """A hinge loss: an example beyond the margin has L' = 0."""
    params, (x, _), tests = problem()
    y = jnp.sign(network(params, x)).at[0].set(5 * jnp.sign(network(params, x))[0])
    y = y * jnp.where(jnp.arange(6) == 2, 1e3, 1)[:, None]
    for rule, unknown in ((rules.Backpropagation(), False), (FREE, True)):
        result, _ = found(
            rule, params, (x, y), lambda p: network(p, tests)[:, 0], 0.01, 2, hinge
        )
        assert np.isnan(result.kernel[:, 2]).all() == unknown
        assert result.loss_slope[2] == 0 and result.error < 1e-10
        assert not np.isnan(result.kernel[:, 1]).any()


def test_a_loss_without_a_derivative_has_contributions_and_no_kernel():
    def wrong(params, x, y):
        return jnp.mean(jnp.round(4 * jnp.abs(network(params, x) - y)))

    params, data, x = problem()
    rule = rules.WeightPerturbation(0.5)
    result, _ = found(rule, params, data, lambda p: network(p, x), steps=1, loss=wrong)
    assert np.isnan(result.kernel).all() and result.error < 1e-3
    assert np.any(result.change != 0)

"""Lives, ways to learn in them, and the claim about a learned rule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.drawn_claims import assert_drawn

from apical import rules
from apical.claims import run_claim
from apical.claims.learned import learned_rule as claim
from apical.claims.learned._lives import (
    WORST,
    Form,
    Images,
    class_split,
    drawn_task,
    life,
    loss_fn,
    network,
    new_weights,
    small_images,
)
from apical.claims.learned._ways_to_learn import (
    by_optimizer,
    by_rule,
    coefficients_of,
    meta_learned,
)

FORM = Form(updates=3, batch=4, hidden=(6, 4), classes=3, tested=8)


def labelled_images(first=0.0):
    """Images that tell their class, whether they are for tests, and their pixels."""
    classes, images = np.arange(10.0)[:, None, None], np.arange(7)[None, :, None]
    pixels = np.arange(64) / 1000
    return jnp.asarray(100 * classes + images + pixels + first, jnp.float32)


IMAGES = Images(labelled_images(), labelled_images(10_000.0))


def test_a_task_has_some_of_the_classes_with_new_labels_and_pixels_in_a_new_order():
    among = jnp.asarray([1, 4, 6, 7, 8])
    keys = jax.random.split(jax.random.key(0), 40)
    tasks = jax.jit(jax.vmap(lambda key: drawn_task(key, IMAGES, among, FORM)))(keys)
    (xs, ys), (tests, wants) = jax.tree.map(np.asarray, tasks)
    assert xs.shape == (40, 3, 4, 64) and ys.shape == (40, 3, 4, 3)
    assert tests.shape == (40, 8, 64) and wants.shape == (40, 8, 3)
    seen = set()
    for x, y, test, wanted in zip(xs, ys, tests, wants, strict=True):
        assert np.all(test >= 10_000) and np.all(x < 10_000)
        every = np.concatenate([x.reshape(-1, 64), test - 10_000])
        labels = np.concatenate([y.reshape(-1, 3), wanted]).argmax(-1)
        pairs = set(zip((every[:, 0] // 100).astype(int), labels, strict=True))
        assert len({c for c, _ in pairs}) == len({k for _, k in pairs}) == len(pairs)
        seen |= pairs
        order = np.rint(1000 * (x[0, 0].astype(float) % 1)).astype(int)
        assert sorted(order) == list(range(64)) and np.any(order != np.arange(64))
    assert {(int(c), int(k)) for c, k in seen} == {
        (c, k) for c in among.tolist() for k in range(3)
    }


def test_classes_are_split_in_halves_that_depend_on_the_seed():
    splits = [tuple(map(tuple, np.sort(class_split(seed)))) for seed in range(5)]
    assert all(sorted(known + new) == list(range(10)) for known, new in splits)
    assert len(set(splits)) > 1


def test_larger_images_are_means_of_blocks_with_a_border():
    x = np.zeros((2, 1, 28, 28), np.float32)
    x[1, 0, 2:6, 2:6] = 1.0  # behind a border of two: the second block of each axis
    found = small_images(x).reshape(2, 8, 8)
    assert found.std() == pytest.approx(1, rel=1e-5)
    assert np.argwhere(found[1] > found[0]).tolist() == [[1, 1]]


def test_a_life_by_gradient_descent_is_that_of_a_loop():
    way = by_optimizer(optax.identity(), 0.2)
    numbers = way.start(FORM)
    numbers["scales"] = jnp.log(jnp.asarray([1.0, 0.5, 2.0]))
    numbers["rates"] = jnp.log(jnp.asarray([0.1, 0.2, 0.3]))
    task = drawn_task(jax.random.key(0), IMAGES, jnp.arange(5), FORM)
    batches = (task.batches[0] / 500, task.batches[1])
    w = new_weights(jax.random.key(1), FORM)
    found = way.learn(numbers, jax.random.key(2), w, batches)
    w1, w2, w3 = (np.asarray(v, float) for v in w.values())
    w2, w3 = w2 / 2, w3 * 2
    for x, y in zip(*map(np.asarray, batches), strict=True):
        a = np.tanh(x @ w1)
        b = np.tanh(a @ w2)
        p = np.exp(b @ w3)
        e = (p / p.sum(1, keepdims=True) - y) / len(x)
        d2 = (e @ w3.T) * (1 - b**2)
        d1 = (d2 @ w2.T) * (1 - a**2)
        w1, w2, w3 = w1 - 0.1 * x.T @ d1, w2 - 0.2 * a.T @ d2, w3 - 0.3 * b.T @ e
    for mine, theirs in zip(found.values(), (w1, w2, w3), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


def test_a_rule_without_other_terms_is_gradient_descent_and_with_them_is_not():
    rule, descent = (
        by_rule(rules.Backpropagation(), 0.1),
        by_optimizer(optax.identity(), 0.1),
    )
    task = drawn_task(jax.random.key(0), IMAGES, jnp.arange(5), FORM)
    given = (
        jax.random.key(2),
        new_weights(jax.random.key(1), FORM),
        (task.batches[0] / 500, task.batches[1]),
    )
    expected = descent.learn(descent.start(FORM), *given)
    numbers = rule.start(FORM)
    for name, found in rule.learn(numbers, *given).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
    changed = dict(numbers, terms=numbers["terms"].at[1, 0, 0, 1, 0].set(0.5))
    found = rule.learn(changed, *given)
    assert np.abs(found["layer_2"] - expected["layer_2"]).max() > 1e-3
    said = rule.shown(changed, FORM)
    assert "layer_2: dw = 0.1 x δ + 0.05 w" in said
    assert set(coefficients_of(changed, FORM.layers)) == set(FORM.layers)


def test_the_readout_alone_leaves_the_other_layers_as_they_were():
    way = by_optimizer(optax.identity(), 0.1, trained="layer_3")
    task = drawn_task(jax.random.key(0), IMAGES, jnp.arange(5), FORM)
    w = new_weights(jax.random.key(1), FORM)
    found = way.learn(way.start(FORM), jax.random.key(2), w, task.batches)
    moved = [name for name in w if np.any(found[name] != w[name])]
    assert moved == ["layer_3"]


def test_a_life_is_scored_on_its_test_examples_and_one_that_diverged_is_at_chance():
    key, among = jax.random.key(3), jnp.arange(5)
    kept = life(lambda key, w, batches: w, key, IMAGES, among, FORM)
    of_task, of_weights, _ = jax.random.split(key, 3)
    x, y = drawn_task(of_task, IMAGES, among, FORM).test
    w = new_weights(of_weights, FORM)
    assert kept.loss == pytest.approx(float(loss_fn(w, x, y)))
    right = np.argmax(network(w, x), 1) == np.argmax(y, 1)
    assert kept.accuracy == pytest.approx(right.mean())
    lost = life(
        lambda key, w, batches: {k: jnp.nan * v for k, v in w.items()},
        *(key, IMAGES, among, FORM),
    )
    assert lost.loss == WORST


def test_meta_learning_descends_its_objective_and_stops():
    target = jnp.asarray([3.0, -1.0])

    def objective(numbers, key):
        return jnp.sum((numbers["a"] - target) ** 2)

    numbers, values, course = meta_learned(
        objective, {"a": jnp.zeros(2)}, jax.random.key(0), 0.1, 200
    )
    np.testing.assert_allclose(numbers["a"], target, atol=0.02)
    assert values[0] == pytest.approx(10.0)
    assert values[1] == pytest.approx(2.9**2 + 0.9**2, rel=1e-4)  # one step of 0.1
    np.testing.assert_allclose(course["a"][0], [0.1, -0.1], rtol=1e-4)
    failed, *_ = meta_learned(
        lambda n, key: jnp.nan * n, jnp.ones(()), jax.random.key(0), 0.1, 3
    )
    assert failed == 1.0


# ---- The verdict


def lines(local=97.0, exact=97.0, sgd=90.0, adam=93.0, rate=0.016, falls=0.0, seeds=5):
    """Lines in all places with these accuracies after a life."""
    means = {claim.SGD: sgd, claim.ADAM: adam, claim.CONTROL: 70.0}
    means |= {claim.LOCAL: local, claim.EXACT: exact}
    return [
        {
            **{"rule": rule, "data": data, "place": place, "seed": seed},
            **{"meta_rate": rate, "tried": list(claim.SIZES["full"].rates)},
            **{"accuracy": mean + 0.1 * seed * (-1) ** seed, "falls": falls},
        }
        for rule, mean in means.items()
        for data, place in (("digits", claim.SAME), *claim.PLACES.items())
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(local=91.0), "holds within limits"),
        (lines(local=91.0, exact=91.0), "does not hold"),
        (lines(local=93.2, exact=93.2), "does not hold"),
        (lines(seeds=4), "not settled"),
        (lines(rate=0.001), "not settled"),
        (lines(rate=0.256), "not settled"),
        (lines(falls=0.05), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_accuracies_after_a_life(found, word):
    assert claim.judge(found).word == word


def test_one_place_against_the_claim_decides():
    worse = [
        dict(each, accuracy=80.0)
        if each["place"] == "another data set" and each["rule"] == claim.EXACT
        else each
        for each in lines()
    ]
    verdict = claim.judge(worse)
    assert verdict.word == "does not hold"
    assert "another data set (Fashion-MNIST): -10" in verdict.because


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {each["rule"] for each in outcome.lines} == {claim.SGD, claim.LOCAL}
    assert all(0 <= each["accuracy"] <= 100 for each in outcome.lines)
    assert all(each["found"] for each in outcome.lines)

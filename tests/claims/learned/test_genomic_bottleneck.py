"""Genomes that write weights, their training, and the claim about them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.learned import genomic_bottleneck as claim
from apical.claims.learned._genome_training import (
    DIRECT,
    INNATE,
    LIFETIME,
    Course,
    Images,
    training_plan,
)
from apical.claims.learned._genomes import (
    accuracies_of_a_life,
    accuracy,
    binary_digits,
    count,
    grow,
    live,
    loss,
    new_genome,
    new_weights,
    tags_of,
)

SIZES = (16, 5, 3)


def test_tags_tell_units_apart():
    for tags, number in zip(tags_of(SIZES), SIZES, strict=True):
        assert len(np.unique(np.asarray(tags), axis=0)) == number
        assert set(np.unique(tags)) == {-1.0, 1.0}
    assert binary_digits(1).shape == (1, 1)
    with pytest.raises(ValueError, match="15, which is no square image"):
        tags_of((15, 3))


def test_weights_are_those_of_a_loop_over_pairs_of_units():
    genome, tags = new_genome(jax.random.key(0), SIZES, 4), tags_of(SIZES)
    genome = jax.tree.map(lambda leaf: leaf + 0.1, genome)  # biases too
    for g, written, before, after in zip(
        genome, grow(genome, tags), tags[:-1], tags[1:], strict=True
    ):
        g = {name: np.asarray(each, float) for name, each in g.items()}
        for i, one in enumerate(np.asarray(before, float)):
            for j, other in enumerate(np.asarray(after, float)):
                pair = np.r_[one, other]
                first = np.r_[g["before"], g["after"]]
                a = np.tanh(pair @ first + g["first_bias"])
                b = np.tanh(a @ g["middle"] + g["middle_bias"])
                w = (b @ g["last"] + g["last_bias"])[0] / len(before) ** 0.5
                assert written[i, j] == pytest.approx(w, abs=1e-5)


def test_the_numbers_of_a_genome_are_counted():
    # 4 + 3 binary places and 3 + 2, four units in two layers, one output.
    numbers = (7 * 4 + 4 + 16 + 4 + 4 + 1) + (5 * 4 + 4 + 16 + 4 + 4 + 1)
    assert count(new_genome(jax.random.key(0), SIZES, 4)) == numbers
    assert count(new_weights(jax.random.key(0), SIZES)) == 16 * 5 + 5 * 3


@pytest.fixture(scope="module")
def images():
    keys = jax.random.split(jax.random.key(1), 2)
    y = jnp.arange(60) % 3
    centres = 2 * jax.random.normal(keys[0], (3, 16))
    x = centres[y] + jax.random.normal(keys[1], (60, 16))
    return Images(
        *((x[part], y[part]) for part in (slice(30), slice(30, 45), slice(45, 60)))
    )


def test_a_life_is_gradient_descent_and_is_scored_after_its_steps(images):
    weights, (x, y) = new_weights(jax.random.key(0), SIZES), images.train
    once = live(weights, 0.5, (x[None], y[None]))
    slopes = jax.grad(loss)(weights, x, y)
    for w, before, slope in zip(once, weights, slopes, strict=True):
        np.testing.assert_allclose(w, before - 0.5 * slope, atol=1e-6)
    scored = jax.jit(
        lambda w: accuracies_of_a_life(
            w,
            jax.random.key(2),
            jnp.asarray([0.0, 0.5]),
            (0, 3, 30),
            images.train,
            (images.held_out, images.test),
        )
    )
    found = np.asarray(scored(weights))
    assert found.shape == (3, 2, 2)
    birth = [float(accuracy(weights, *part)) for part in images[1:]]
    np.testing.assert_allclose(found[0], [birth, birth])
    np.testing.assert_allclose(found[:, 0], [birth] * 3)  # at rate 0
    assert np.all(found[2, 1] > np.maximum(0.8, birth))


@pytest.mark.parametrize("name", [INNATE, LIFETIME, DIRECT])
def test_training_lowers_what_it_descends(images, name):
    plan = training_plan(name, SIZES, 6)
    course = Course(plan, 3 if name == LIFETIME else 1)
    genes = jax.jit(course.run, static_argnums=3)(images, jax.random.key(0), 0.02, 200)
    first, last = (jax.tree.map(lambda leaf, i=i: leaf[i], genes) for i in (0, -1))
    batch = tuple(jnp.stack([part] * 3) for part in images.train)
    descended = jax.jit(plan.loss)
    assert descended(last, *batch) < 0.5 * descended(first, *batch)
    assert (name == LIFETIME) == ("log_rate" in last)


def test_what_a_lifetime_descends_is_the_loss_after_it(images):
    plan = training_plan(LIFETIME, SIZES, 6)
    genes = plan.begin(jax.random.key(0))
    x, y = (jnp.stack([part] * 3) for part in images.train)
    weights = plan.weights(genes)
    for _ in range(2):
        slopes = jax.grad(loss)(weights, x[0], y[0])
        weights = [w - 0.1 * s for w, s in zip(weights, slopes, strict=True)]
    assert plan.loss(genes, x, y) == pytest.approx(float(loss(weights, x[0], y[0])))
    assert abs(plan.loss(genes, x, y) - loss(plan.weights(genes), x[0], y[0])) > 1e-3


# ---- The verdict


def lines(
    birth=92.0,
    later=94.0,
    direct=94.0,
    plain=60.0,
    seeds=5,
    end=False,
    late=0.0,
    slow=0.0,
):
    """Lines of the genome that is judged and of its controls."""
    judged, other = claim.JUDGED, {"hidden": 0, "at_an_end": False}
    of_genome = {"rule": INNATE, "hidden": judged, "at_an_end": end}
    of_loop = {"rule": LIFETIME, "hidden": judged, "at_an_end": False}
    rows = [
        (of_genome, 0, birth, 1.0),
        (of_genome, 5, birth, 1.0),
        (of_genome, claim.LITTLE, later, 1.0),
        (of_genome, 0, birth - 20, 0.2),
        (of_genome, 0, birth - slow, 0.8),
        (of_loop, 0, birth - 10, 1.0),
        (of_loop, 5, birth + 1, 1.0),
        (other | {"rule": DIRECT}, 0, direct - late, 0.8),
        (other | {"rule": DIRECT}, 0, direct, 1.0),
        (other | {"rule": claim.RANDOM}, 0, 10.0, 1.0),
        (other | {"rule": claim.RANDOM}, claim.LITTLE, plain, 1.0),
    ]
    return [
        where
        | {"data": "mnist", "seed": seed, "steps": steps, "share": share}
        | {"numbers": 402, "weights": 79_400}
        | {"accuracy": mean + 0.2 * seed * (-1) ** seed}
        for where, steps, mean, share in rows
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (lines(), "holds"),
        (lines(birth=80.0), "holds within limits"),
        (lines(birth=80.0, later=85.0), "does not hold"),
        (lines(plain=93.0), "does not hold"),
        (lines(seeds=4), "not settled"),
        (lines(end=True), "not settled"),
        (lines(late=2.0), "not settled"),
        (lines(slow=2.0), "holds"),
        (lines(birth=80.0, later=85.0, slow=2.0), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_accuracies_at_birth_and_after_little(found, word):
    assert claim.judge(found).word == word


def test_the_verdict_says_what_a_lifetime_in_the_loop_changes():
    told = claim.judge(lines()).because
    assert "learning in the loop, at birth, at 100% of the updates: -10.00" in told
    assert "learning in the loop, after 5 steps, at 100% of the updates: +1.00" in told


def test_the_measured_figure_has_its_compression():
    assert claim.CLAIM.published[0].measured(lines()) == "92.1 % at 198x"


def test_lines_are_drawn():
    assert_drawn(claim, lines())


@pytest.mark.sweep
def test_the_smallest_form_runs_and_settles_nothing(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {each["rule"] for each in outcome.lines} == set(claim.NAMES)
    assert all(0 <= each["accuracy"] <= 100 for each in outcome.lines)

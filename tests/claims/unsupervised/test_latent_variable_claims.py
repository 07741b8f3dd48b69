"""Wake-sleep and autoencoders: exact sums, the judges, and the runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims._fairness import refuse_if_unfair
from apical.claims.unsupervised import _autoencoders as models
from apical.claims.unsupervised import _helmholtz_machine as machine
from apical.claims.unsupervised import vae_any_rule, wake_sleep
from apical.claims.unsupervised._training import run_lines, training_runs
from apical.lab._registry import BASELINE, CONTROL

CLAIMS = {module.CLAIM.id: module for module in (vae_any_rule, wake_sleep)}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_the_smallest_form_runs_and_settles_nothing(name, tmp_path):
    outcome = run_claim(CLAIMS[name].CLAIM, "smoke", tmp_path)
    assert outcome.verdict.word == "not settled"
    assert {line["status"] for line in outcome.lines} == {"ok"}
    assert len({line["rule"] for line in outcome.lines}) == 2


# ------------------------------------------------------------ autoencoders: the judge


def coded(seeds=6, noise=0.01, linear=(), deep=()):
    """Lines of both models: nats below the optimum, and bounds of test images."""
    missed = dict.fromkeys(vae_any_rule.ALL, 0.02) | {CONTROL: 4.0} | dict(linear)
    bound = dict.fromkeys(vae_any_rule.ALL, -25.0) | {CONTROL: -27.6} | dict(deep)
    found = []
    for rule in vae_any_rule.ALL:
        for seed in range(seeds):
            jitter = noise * (seed % 3 - 1) * (1 + len(rule) % 4)
            for model, last, best in (
                ("linear", 11.03 - missed[rule], 11.03),
                ("deep", bound[rule], None),
            ):
                said = {"model": model, "rule": rule, "best": best}
                said |= {"data": "digits", "learning_rate": 0.01}
                found += run_lines({"score": [last + jitter] * 2}, said, seed)
    return found


FA, KP = "feedback alignment", "Kolen-Pollack"
CODED = {
    "holds": [coded()],
    "holds within limits": [
        coded(linear={FA: 15.0}),
        coded(deep={FA: -27.6}),
        coded(linear={KP: 1.0}, deep={FA: -30.0}),
    ],
    "does not hold": [coded(deep={KP: -28.0}), coded(deep={CONTROL: -20.0})],
    "not settled": [coded(seeds=4), coded(noise=9.0), []],
}


@pytest.mark.parametrize("word", CODED)
def test_autoencoders_are_judged_by_the_optimum_and_a_frozen_encoder(word):
    found = [vae_any_rule.judge(each) for each in CODED[word]]
    assert [verdict.word for verdict in found] == [word] * len(found)


def test_an_autoencoder_that_diverged_counts_as_lost():
    lost = coded()
    for line in lost:
        if line["rule"] == KP and line["seed"] == 2:
            line |= {"status": "diverged", "score": None}
    assert vae_any_rule.judge(lost).word == "not settled"


# ------------------------------------------------------------ wake-sleep: the judge


def asleep(seeds=6, crossed=0.0, noise=0.005, **scores):
    """Lines of all ways to learn: minus the divergence from the data, in nats."""
    names = {"ours": wake_sleep.WAKE_SLEEP, "wake": wake_sleep.WAKE, "exact": BASELINE}
    given = dict.fromkeys(wake_sleep.ALL, -0.3)
    given |= {wake_sleep.WAKE: -2.0, wake_sleep.WAKE_SLEEP: -0.02, BASELINE: -0.04}
    given |= {names[name]: score for name, score in scores.items()}
    found = []
    for rule, score in given.items():
        for seed in range(seeds):
            said = {"rule": rule, "learning_rate": 0.01}
            said["crossed"] = crossed if rule == wake_sleep.WAKE_SLEEP else None
            size = 3 if rule == wake_sleep.WAKE_SLEEP else 1
            last = score + noise * (seed % 3 - 1) * size
            found += run_lines({"score": [last] * 2, "loose": [0.1] * 2}, said, seed)
    return found


ASLEEP = {
    "holds": [asleep(), asleep(ours=-0.1)],
    "holds within limits": [asleep(ours=-0.5), asleep(ours=-0.15, noise=0.04)],
    "does not hold": [asleep(ours=-2.0), asleep(crossed=0.1), asleep(crossed=None)],
    "not settled": [asleep(seeds=4), asleep(ours=-0.14, wake=-0.24, noise=0.02), []],
}


@pytest.mark.parametrize("word", ASLEEP)
def test_wake_sleep_is_judged_by_the_bound_and_by_waking_alone(word):
    found = [wake_sleep.judge(each) for each in ASLEEP[word]]
    assert [verdict.word for verdict in found] == [word] * len(found)


def test_scores_count_as_undertrained_and_ends_of_trials_are_refused():
    measured = asleep()
    for line in measured:
        if line["rule"] == BASELINE and line["epoch"] == 1:
            line["score"] -= 1.0
    drawn = [
        {"rule": rule, "trial": i, "learning_rate": 10.0**i, "numbers": "{}"}
        | {"chosen": i == (0 if rule == wake_sleep.WAKE else 1)}
        for rule in wake_sleep.ALL
        for i in range(3)
    ]
    verdict = wake_sleep.judge(measured)
    refused = refuse_if_unfair(wake_sleep.CLAIM, verdict, measured, drawn).refused
    assert any("rises by 0.40 nats" in why for why in refused)
    assert any("trials of wake alone the one with the smallest" in w for w in refused)
    assert len(refused) == 2


def test_lines_are_drawn():
    for module, lines in ((vae_any_rule, coded()), (wake_sleep, asleep())):
        assert_drawn(module, lines)


# ------------------------------------------------------------ what is exact


def test_no_linear_loss_is_below_the_optimum_and_the_optimum_is_reached():
    """The closed form of Tipping & Bishop, from the eigenvectors, as parameters."""
    x = np.random.default_rng(0).normal(size=(300, 7)) * np.arange(1, 8)
    least = models.least_linear_loss(x, 2)
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    top, rest = values[:-3:-1], values[:-2].mean()
    w = vectors[:, :-3:-1] * np.sqrt(top - rest)  # pixels x causes
    inverse = np.linalg.inv(w.T @ w + rest * np.eye(2))
    params = {
        "mean": {"w": w @ inverse, "b": -mean @ w @ inverse},
        "log_var": np.log(rest * np.diag(inverse)),
        "out": {"w": w.T, "b": mean},
        "pixel_log_var": np.log(rest),
    }
    assert float(models.expected_linear_loss(params, x)) == pytest.approx(
        least, rel=1e-5
    )
    worse = params | {"pixel_log_var": np.log(2 * rest)}
    assert float(models.expected_linear_loss(worse, x)) > least + 0.1
    noise = np.random.default_rng(1).normal(size=(2000, 300, 2))
    drawn = jax.jit(jax.vmap(lambda n: models.linear_loss(params, x, n)))(noise)
    assert float(drawn.mean()) == pytest.approx(least, abs=0.05)


@pytest.mark.parametrize("model", ["linear", "deep"])
def test_the_control_keeps_its_encoder_and_trains_its_decoder(model):
    problem = vae_any_rule.problem_of(model, CONTROL, 9, 4)
    problem = problem._replace(measure=lambda params, data: params)
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(30, 9)), jnp.float32)
    found = training_runs(problem, 4, 1)([0], [0.1], vae_any_rule.Images(x, x))
    start = problem.init(jax.random.split(jax.random.key(0), 3)[0])
    for name, values in start.items():
        before, after = (jax.tree.leaves(tree)[-1] for tree in (values, found[name]))
        stays = name in models.ENCODER[model]
        assert np.allclose(before, np.reshape(after, np.shape(before))) == stays


OTHERS = [rule for rule in vae_any_rule.RULES if rule != KP]


@pytest.mark.parametrize(
    "rule", [KP, *(pytest.param(rule, marks=pytest.mark.slow) for rule in OTHERS)]
)
def test_a_larger_step_moves_further_by_every_rule(rule):
    problem = vae_any_rule.problem_of("linear", rule, 9, 2)
    problem = problem._replace(measure=lambda params, data: params["out"]["w"])
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(30, 9)), jnp.float32)
    run = training_runs(problem, 2, 1)
    found = run([0, 0, 0], [0.0, 0.01, 0.02], vae_any_rule.Images(x, x))[:, 0]
    near, far = (np.linalg.norm(after - found[0]) for after in found[1:])
    assert 0 < near < far < 3 * near


def brute_force(params, image):
    """Log p(x) and the bound of one image, state by state."""
    joint, bound = [], 0.0
    for h in machine._H:
        for t in machine._T:
            below = machine.log_p(machine.affine(params["down_x"], h), image)
            above = machine.log_p(machine.affine(params["down_h"], t), h)
            joint.append(below + above + machine.log_p(params["top"], t))
            log_q = machine.log_p(machine.affine(params["up_h"], image), h)
            log_q = log_q + machine.log_p(machine.affine(params["up_t"], h), t)
            bound = bound + jnp.exp(log_q) * (joint[-1] - log_q)
    return jax.nn.logsumexp(jnp.array(joint)), bound


@pytest.mark.sweep
def test_sums_over_states_are_those_of_a_loop():
    params = machine.machine(jax.random.key(0))
    x, _ = machine.bars()
    log_p, bound = brute_force(params, x[3])
    found = machine.log_likelihood(params, x[3:4])[0]
    assert float(found) == pytest.approx(float(log_p), rel=1e-5)
    exact = machine.exact_bound_loss(params, x[3:4], jnp.ones(1))
    assert float(exact) == pytest.approx(-float(bound), rel=1e-5)
    assert float(bound) < float(log_p)


def test_images_of_bars_and_the_likelihood_are_distributions():
    x, probability = machine.bars()
    assert x.shape == (14, 9) and probability.sum() == pytest.approx(1)
    assert probability.max() == pytest.approx(2 / 16)  # all and nothing, both ways
    every = np.array(np.meshgrid(*[[0.0, 1.0]] * 9)).reshape(9, -1).T
    params = machine.machine(jax.random.key(0))
    total = jnp.exp(jax.jit(machine.log_likelihood)(params, jnp.asarray(every))).sum()
    assert float(total) == pytest.approx(1, rel=1e-4)


def test_no_error_passes_a_synapse_in_wake_sleep_and_one_does_in_a_bound():
    """The control: a bound whose states have a derivative, by the same measure."""

    def soft(params, x):
        h = jax.nn.sigmoid(machine.affine(params["up_h"], x))
        return -jnp.mean(machine.log_p(machine.affine(params["down_x"], h), x))

    data = wake_sleep.Distribution(*map(jnp.asarray, machine.bars()))
    assert wake_sleep.crossing(data) < wake_sleep.CROSSED
    assert wake_sleep.crossing(data, soft) > 0.1

"""Claims about training with predictive coding: experiments and judges."""

import jax
import numpy as np
import pytest
from support.claim_lines import runs
from support.drawn_claims import assert_drawn

from apical.claims import CLAIMS, _data, _tasks, run_claim
from apical.claims._claim import SCALES, TaskContext
from apical.claims._data import vector_loader
from apical.claims.predictive_coding import incremental as incremental
from apical.claims.predictive_coding import nudged as nudged
from apical.claims.predictive_coding import trains as pc_trains
from apical.lab._registry import BASELINE, CONTROL
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._load import load
from apical.lab.data._text import windows
from apical.lab.report.figures._style import figure_style, render
from apical.lab.training._setup import TrainSetup, VmappedRuns, batch_order
from apical.lab.training._train import Trainer

MODULES = {module.CLAIM.id: module for module in (incremental, nudged)}
SMALL = incremental.Size("digits", 256, 160, 16, 1, 1)


# -------------------------------------------------------------------- the source's run


def adamw_by_hand(params, memory, grads, count, updates, setting):
    warm, last = updates // 10, 0.1 / 1.1
    share = (count - warm) / (updates - warm)
    pace = 1.1 * ((1 - last) * 0.5 * (1 + np.cos(np.pi * share)) + last)
    rate = setting.rate * (1 + 0.1 * count / warm if count < warm else pace)
    after = []
    for p, (m, v), g in zip(params, memory, grads, strict=True):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        mean, square = m / (1 - 0.9 ** (count + 1)), v / (1 - 0.999 ** (count + 1))
        moved = mean / (np.sqrt(square) + 1e-8) + setting.decay * p
        after.append((p - rate * moved, (m, v)))
    return tuple(map(list, zip(*after, strict=True)))


def published_by_hand(params, batches, setting, rate, momentum):
    """Values are what leaves the leaky ReLU; all move with all weights, 8 times."""
    depth, count, updates = len(params) // 2, 0, 8 * len(batches)
    memory = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    for x, y in batches:
        values, pace = [x], [0.0] * (depth - 1)
        for w, b in zip(params[: depth - 1], params[depth:-1], strict=True):
            drive = values[-1] @ w.T + b
            values.append(np.where(drive > 0, drive, 0.01 * drive))
        for _ in range(8):
            w, b = params[:depth], params[depth:]
            drives = [v @ m.T + c for v, m, c in zip(values, w, b, strict=True)]
            slopes = [np.where(d > 0, 1.0, 0.01) for d in drives[:-1]]
            made = [d * s for d, s in zip(drives, slopes, strict=False)]
            errors = [v - p for v, p in zip(values[1:], made, strict=True)]
            passed = [e * s for e, s in zip(errors, slopes, strict=True)]
            passed.append(y - drives[-1])
            grads = [
                *(-p.T @ v / len(x) for p, v in zip(passed, values, strict=True)),
                *(-p.sum(0) / len(x) for p in passed),
            ]
            for i in range(depth - 1):
                down = errors[i] - passed[i + 1] @ w[i + 1]
                pace[i] = down + momentum * pace[i]
            moved = zip(values[1:], pace, strict=True)
            values = [x, *(v - rate * p for v, p in moved)]
            params, memory = adamw_by_hand(
                params, memory, grads, count, updates, setting
            )
            count += 1
    return params


def parameters(learned):
    """The weights of every layer, and then the biases, of the only seed."""
    layers = (*learned.params.hidden, learned.params.readout)
    kinds = [layer.weight for layer in layers], [layer.bias for layer in layers]
    return [np.asarray(each[0]) for kind in kinds for each in kind]


def test_the_work_is_the_run_of_the_source_step_by_step(tmp_path):
    setting = incremental.NUMBERS[incremental.INCREMENTAL]
    with jax.enable_x64(True):
        data = incremental.rescaled(
            vector_loader("digits", 256, 160)(TaskContext(tmp_path))
        )
        data = data._replace(train_x=data.train_x.astype(np.float64))
        work = incremental.make_work(SMALL, setting, data)
        run = Trainer(
            TrainSetup(work),
            RuleSpec(lambda: setting.rule),
            VmappedRuns.with_seeds((0,), work.learning_rate, {}),
        )
        begun, order = run.begin().learned, batch_order(work, (0,), 1)
        after, _, _ = run.advance(begun, order)
        start, end = (parameters(learned) for (learned,) in (begun, after))
    targets = np.eye(10)[data.train_y]
    batches = [(data.train_x[chosen[0]], targets[chosen[0]]) for chosen in order]

    def distance(momentum):
        expected = published_by_hand(
            start, batches, setting, 0.8495322487988946, momentum
        )
        pairs = zip(end, expected, start, strict=True)
        return max(np.linalg.norm(a - b) / np.linalg.norm(b - c) for a, b, c in pairs)

    assert distance(0.35) < 1e-5
    assert distance(0.0) > 0.05
    assert len(batches) == 2


def test_inputs_reach_from_minus_one_to_one(tmp_path):
    data = incremental.rescaled(vector_loader("digits")(TaskContext(tmp_path)))
    assert (data.train_x.min(), data.train_x.max()) == (-1, 1)
    assert data.test_x.dtype == np.float32 and abs(data.test_x).max() <= 1


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the tasks of a claim's full form ask of `compare`, which does nothing."""

    def small(name, *_):
        letters = "to be or not to be " * 300
        return windows(letters, "t", "") if name == "shakespeare" else load("digits")

    def arguments_of(claim):
        found = []

        def compare(**arguments):
            found.append(arguments)
            raise InterruptedError

        monkeypatch.setattr(_tasks, "compare", compare)
        monkeypatch.setattr(pc_trains, "load", small)
        monkeypatch.setattr(_data, "load", lambda *_: load("digits"))
        for task in CLAIMS[claim].tasks("full"):
            if not task.name.startswith("gradients"):
                with pytest.raises(InterruptedError):
                    task.run(TaskContext(tmp_path))
        return found

    return arguments_of


def test_the_nudge_is_centred_and_free():
    for rule in nudged.RULES.values():
        assert (rule.prediction, rule.nudge.kind, rule.steps) == ("free", "centred", 7)
        assert rule._pulls == (0.1, -0.1)
    assert nudged.RULES[nudged.FIXED].rate == 0.5


@pytest.mark.parametrize(
    ("claim", "drawn"),
    [
        ("pc-nudged", [{}, {"rate": (0.05, 0.5, "log")}, {}]),
        ("pc-trains", [{}, {}] * 2),
        ("pc-fixed-vs-free", [{}, {}] * 3),
    ],
)
def test_trials_draw_of_predictive_coding_what_the_claim_says(claim, drawn, asked):
    spaces = [space for each in asked(claim) for space in each["search_spaces"].items()]
    assert [space for _, space in spaces] == drawn
    assert all(name in each["rules"] for each in asked(claim) for name, _ in spaces)


def test_the_nudge_is_compared_at_equal_trials_with_a_control(asked):
    found = asked("pc-nudged")
    for each in found:
        assert set(each["rules"]) == {BASELINE, CONTROL, nudged.NUDGED}
        assert (each["seeds"], each["epochs"]) == (7, 3)
    assert [each["sweep"] for each in found] == [8, 8, 0]
    assert CLAIMS["pc-nudged"].trials == 8


@pytest.mark.parametrize("name", MODULES)
def test_a_claim_has_work_at_every_scale(name):
    for scale in SCALES:
        names = [task.name for task in CLAIMS[name].tasks(scale)]
        assert names and len(set(names)) == len(names)
        assert not any("/" in task for task in names)


@pytest.mark.slow
def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(incremental.CLAIM, "smoke", tmp_path)
    assert {line["rule"] for line in outcome.lines} == set(incremental.NUMBERS)
    assert outcome.verdict.word == "not settled"
    with figure_style():
        drawn = render(incremental.CLAIM.draw(outcome.lines))
    assert drawn.png.startswith(b"\x89PNG")


# -------------------------------------------------------------------------- the judges


def reached(last=98.6, best=98.7, seeds=7, spread=0.05, lost=()):
    """Lines of seven seeds; `best` is the accuracy of an epoch before the last."""
    noise = spread * np.linspace(-1, 1, seeds)
    return [
        {"rule": rule, "seed": seed, "epoch": epoch, "epochs": 2, "alignment": 0.9}
        | {"status": "diverged" if seed in lost and epoch == 2 else "ok"}
        | {"test_accuracy": (percent + noise[seed] * (rule == BASELINE)) / 100}
        for rule in incremental.NUMBERS
        for seed in range(seeds)
        for epoch, percent in enumerate(
            (10.0, 98.3, 98.3) if rule == BASELINE else (10.0, best, last)
        )
        if not (seed in lost and rule == BASELINE and epoch == 2)
    ]


def compared(ours=0.5, control=0.3, spread=1.0, seeds=8, run=nudged.TUNED):
    names = {BASELINE: 0.5, CONTROL: control, nudged.NUDGED: ours}
    lines = runs(names, spread=spread, run=run)
    more = [{**e, "seed": e["seed"] + 5} for e in lines if e["seed"] < seeds - 5]
    return [*lines, *more] if seeds > 5 else [e for e in lines if e["seed"] < seeds]


@pytest.mark.parametrize(
    ("name", "lines", "word"),
    [
        ("pc-incremental", reached(), "holds"),
        ("pc-incremental", reached(last=98.42, spread=0.01), "holds"),
        ("pc-incremental", reached(last=98.3), "does not hold"),
        ("pc-incremental", reached(last=98.0, best=98.9), "does not hold"),
        ("pc-incremental", reached(last=98.35, spread=0.1), "not settled"),
        ("pc-incremental", reached(last=98.42, spread=0.1), "not settled"),
        ("pc-incremental", reached(seeds=4), "not settled"),
        ("pc-incremental", [], "not settled"),
        ("pc-nudged", compared(), "holds"),
        ("pc-nudged", compared(ours=0.6), "holds"),
        ("pc-nudged", compared(ours=0.47), "does not hold"),
        ("pc-nudged", compared(control=0.6), "does not hold"),
        ("pc-nudged", compared(spread=15), "not settled"),
        ("pc-nudged", compared(seeds=4), "not settled"),
        ("pc-nudged", compared(run=nudged.GIVEN), "not settled"),
        ("pc-nudged", compared(0.4) + compared(run=nudged.GIVEN), "does not hold"),
        ("pc-nudged", [], "not settled"),
    ],
)
def test_the_verdict_follows_from_lines_that_must_give_it(name, lines, word):
    found = MODULES[name].judge(lines)
    assert found.word == word, found.because


def test_the_source_counts_the_best_epochs_of_the_best_seeds():
    lines = reached(spread=0.3)
    best = incremental.best_seeds(lines, BASELINE)
    assert sorted(best) == [2, 3, 4, 5, 6]
    assert best[6] == pytest.approx(98.6) and best[2] == pytest.approx(98.2)
    assert len(incremental.ended(lines, BASELINE)) == 7


@pytest.mark.parametrize("name", MODULES)
def test_lines_are_drawn_and_so_is_nothing(name):
    lines = reached() if name == "pc-incremental" else compared()
    assert_drawn(CLAIMS[name], lines)

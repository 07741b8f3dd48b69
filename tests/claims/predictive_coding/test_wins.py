"""Tasks that change while a net learns: the courses, the judge, the smallest form."""

from itertools import pairwise

import numpy as np
import pytest
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.predictive_coding import wins as claim
from apical.claims.predictive_coding._changing_tasks import (
    CONTINUAL,
    DRIFT,
    FEW,
    TASKS,
    Shape,
    course,
)
from apical.lab._registry import BASELINE, CONTROL

LABELS = np.tile(np.arange(10), 40)
SHAPE = Shape(parts=8, updates=30, batch=6)


def shown(task):
    """The classes that come in each part."""
    found = course(task, LABELS, SHAPE, 0)
    return [set(LABELS[places].ravel().tolist()) for places in found.places]


def test_each_course_shows_what_its_task_says():
    low, high = set(range(5)), set(range(5, 10))
    assert shown(CONTINUAL) == [low, high] * 4
    assert shown(claim.INTERFERENCE) == [low] * 4 + [high] * 4
    assert all(each == low | high for each in shown(DRIFT))
    few = course(claim.LITTLE, LABELS, SHAPE, 0).places
    assert len(np.unique(few)) == 10 * FEW
    assert course(claim.ONLINE, LABELS, SHAPE, 0).places.shape == (8, 30, 1)


def test_meanings_change_in_drift_alone_and_stay_a_matching():
    for task in TASKS:
        outputs = course(task, LABELS, SHAPE, 0).outputs
        assert all(sorted(each) == list(range(10)) for each in outputs)
        changes = [int((a != b).sum()) for a, b in pairwise(outputs)]
        assert changes == ([0, 5] * 3 + [0] if task == DRIFT else [0] * 7)


def test_only_what_comes_after_the_change_counts_under_interference():
    counted = {task: course(task, LABELS, SHAPE, 0).counted for task in TASKS}
    assert counted.pop(claim.INTERFERENCE).tolist() == [False] * 4 + [True] * 4
    assert all(each.all() for each in counted.values())


def learned(spread=0.001, seeds=5, **ahead):
    """Lines in which predictive coding is so far ahead in each task."""
    noise = spread * np.linspace(-1, 1, seeds)
    return [
        {"rule": rule, "part": task, "data": "fashion-mnist", "seed": seed}
        | {"epoch": 1, "epochs": 1, "status": "ok", "learning_rate": 0.1, "updates": 2}
        | {"test_accuracy": at + noise[seed] * (rule == claim.CODING)}
        | {"accuracies": [0.1, at]}
        for task in TASKS
        for rule, at in (
            (claim.CODING, 0.7 + ahead.get(task.replace(" ", "_"), 0.02)),
            (BASELINE, 0.7),
            (CONTROL, 0.5),
        )
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (learned(), "holds"),
        (learned(continual=0.0, concept_drift=-0.1), "holds within limits"),
        (learned(online=0.0), "does not hold"),
        (learned(spread=0.05), "not settled"),
        (learned(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_the_five_tasks(lines, word):
    assert claim.judge(lines).word == word


def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert {line["rule"] for line in outcome.lines} == {claim.CODING, BASELINE}
    assert all(0 <= line["test_accuracy"] <= 1 for line in outcome.lines)
    assert outcome.verdict.word == "not settled"
    assert_drawn(claim.CLAIM, learned())

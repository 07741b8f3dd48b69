"""The lines of records."""

import json
import math
import platform
from collections import OrderedDict
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.lab_runs import train_config

import apical
from apical import rules
from apical.lab._registry import RULES
from apical.lab.run._records import (
    environment,
    epoch_lines,
    hyper_parameters,
    layer_lines,
    plain,
    run_line,
)
from apical.lab.training._train import Epoch, Scores
from apical.lab.training._tuning import Choice
from apical.measure import Agreement, Alignment, LayerAgreement


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (np.float32(0.5), 0.5),
        (jnp.array(0.25), 0.25),
        (np.array([1.0, math.inf]), [1.0, None]),
        (jnp.array([0.5, math.nan], jnp.bfloat16), [0.5, None]),
        (np.asarray(jnp.bfloat16(0.5))[()], 0.5),
        (True, True),
        (None, None),
        ("fixed", "fixed"),
    ],
)
def test_values_are_made_plain(value, expected):
    found = plain(value)
    assert found == expected
    json.dumps(found, allow_nan=False)


def test_every_hyper_parameter_is_recorded_and_parts_by_name():
    @dataclass
    class Part:
        gain: float = 2.0

    sweep = rules.PredictiveCoding(inference=rules.Sweep())
    assert plain(Part()) == {"name": "Part", "gain": 2.0}
    found = hyper_parameters(sweep)
    parts = {"precision", "nudge", "feedback", "derivative", "tolerance"}
    parts |= {"free", "amortised"}
    assert found.keys() == {"steps", "rate", "prediction", "inference", *parts}
    assert found["inference"]["name"] == "Sweep"
    json.dumps(hyper_parameters(rules.PredictiveCoding(inference=optax.sgd(0.1))))


def test_a_line_tells_the_numbers_that_were_chosen():
    line = run_line(
        train_config(),
        "kolen-pollack",
        RULES["kolen-pollack"],
        Choice(0.2, {"decay": 0.5}),
    )
    assert json.loads(line["hyper_parameters"])["decay"] == 0.5
    assert (line["learning_rate"], line["rule_class"]) == (0.2, "KolenPollack")
    assert "weight transport" not in line["needs"]
    assert "update locking" in line["needs"]


def epoch(number, loss, diverged):
    agreement = Agreement(*np.ones((3, 2)))
    layer = LayerAgreement(agreement, hidden=True, parameters=("a",))
    scores = Scores(np.ones(2), np.array([0.5, math.nan]), np.array(diverged))
    leaves = OrderedDict(a=agreement, unread=agreement)
    alignment = Alignment(0.5 * np.ones(2), OrderedDict(a=layer), leaves, agreement)
    return Epoch(number, np.array(loss), scores, alignment, 0.1, 0.2, 1.0)


def test_before_training_there_is_no_loss_and_that_is_no_divergence():
    first, second = epoch_lines(epoch(0, [math.nan] * 2, [False, True]), (3, 4))
    assert (first["seed"], first["status"], first["training_loss"]) == (3, "ok", None)
    assert (second["seed"], second["status"]) == (4, "diverged")
    assert second["test_accuracy"] is None and "not finite" in second["message"]
    json.dumps([first, second], allow_nan=False)


def test_a_line_has_the_mean_of_the_hidden_layers_and_of_all_parameters():
    line = next(epoch_lines(epoch(0, [1.0, 1.0], [False, False]), (3, 4)))
    assert (line["alignment_hidden"], line["alignment"]) == (0.5, 1.0)


def test_a_parameter_is_told_with_its_layer_and_one_outside_the_loss_without():
    first, unread, *_ = layer_lines(epoch(0, [1.0, 1.0], [False, False]), (3, 4))
    told = ("place", "parameter", "layer", "hidden", "layer_alignment")
    assert [first[name] for name in told] == [0, "a", "a", True, 1.0]
    assert [unread[name] for name in told] == [1, "unread", None, False, None]


def test_a_line_says_which_loss_is_descended():
    for name, loss, expected in (
        ("generec", "cross-entropy", "squared-error"),
        ("kolen-pollack", "cross-entropy", "cross-entropy"),
        ("kolen-pollack", "squared-error", "squared-error"),
    ):
        given = train_config()._replace(loss=loss)
        line = run_line(given, name, RULES[name], Choice(0.2, {}))
        assert line["descends"] == expected


def test_the_environment_names_versions_and_no_machine():
    found = environment()
    assert found["apical"] == apical.__version__
    assert found["python"] == platform.python_version()
    assert {"jax", "jaxlib", "numpy", "optax", "equinox"} < found.keys()
    assert platform.node() not in json.dumps(found)

"""Search spaces given to `compare` replace those of the rules."""

import json

import numpy as np
import pytest
from support.lab_runs import compared

from apical import lab, rules
from apical.lab._registry import RULES
from apical.lab._rule_spec import MOST_NUMBERS, RuleSpec, checked_search_spaces
from apical.lab.report._html import rerun_command
from apical.lab.run._plan import arguments
from apical.lab.storage._output_dir import read_settings
from apical.lab.training._tuning import draw_trials

POLLACK = "kolen-pollack"
NARROW = {"decay": (0.1, 0.2, "linear")}
ASKED = {"rules": [POLLACK], "epochs": 1, "seeds": 1, "sweep": 3}


def drawn(result):
    return [json.loads(line["numbers"]) for line in result.trials]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    spaces = {POLLACK: NARROW}
    return folder, compared(**ASKED, search_spaces=spaces, out=folder)


def test_the_space_of_a_spec_is_that_of_its_rule():
    assert RuleSpec(rules.KolenPollack).search_space is rules.KolenPollack.search_space
    assert RuleSpec(rules.KolenPollack, search_space={}).search_space == {}


def test_a_sweep_draws_from_the_space_that_is_given(narrow):
    _, result = narrow
    values = [numbers["decay"] for numbers in drawn(result)]
    assert len(values) == 3 and all(0.1 <= value <= 0.2 for value in values)
    # The control: the rule's own space is another.
    own = draw_trials(3, (1e-3, 1.0), RULES[POLLACK].search_space).numbers["decay"]
    assert not any(0.1 <= value <= 0.2 for value in own)
    expected = draw_trials(3, (1e-3, 1.0), NARROW).numbers["decay"]
    np.testing.assert_allclose(values, expected)


def test_an_empty_space_leaves_the_step_size_alone():
    result = compared(**ASKED, search_spaces={"kolen_pollack": {}})
    assert drawn(result) == [{}, {}, {}]
    assert len({line["learning_rate"] for line in result.trials}) == 3


def test_it_takes_the_place_of_a_subclass_with_another_space():
    """The trials and records are those of a rule that declares the space itself."""

    class Declared(rules.KolenPollack):
        search_space = NARROW

    asked = {**ASKED, "rules": {"mine": rules.KolenPollack()}}
    given = compared(**asked, search_spaces={"mine": NARROW})
    declared = draw_trials(3, (1e-4, 9e-2), Declared.search_space)
    assert [n["decay"] for n in drawn(given)] == list(declared.numbers["decay"])
    rates = [line["learning_rate"] for line in given.trials]
    np.testing.assert_allclose(rates, declared.learning_rates)
    assert "search_spaces" not in given.records[0]


def test_it_is_written_down_and_resumed(narrow):
    folder, result = narrow
    settings = read_settings(folder)
    assert settings["search_spaces"] == {POLLACK: [["decay", 0.1, 0.2, "linear"]]}
    assert arguments(settings | {"given_as_objects": []})["search_spaces"] == {
        POLLACK: NARROW
    }
    assert rerun_command(settings).objects == ["data", "search_spaces"]
    again = compared(**ASKED, search_spaces={POLLACK: NARROW}, out=folder, resume=True)
    assert again.trials == result.trials
    with pytest.raises(lab.LabError, match="was begun with search_spaces"):
        compared(**ASKED, out=folder, resume=True)


def test_without_it_settings_are_those_of_earlier_versions(tmp_path):
    compared(**{**ASKED, "sweep": 0}, out=tmp_path)
    assert "search_spaces" not in read_settings(tmp_path)


WRONG = {
    "no mapping": ([POLLACK], "search_spaces is a list"),
    "no rule": ({"kolen-polack": {}}, "Did you mean 'kolen-pollack'"),
    "no space": ({POLLACK: 0.1}, "give a dictionary by hyper-parameter"),
    "no number": ({POLLACK: {"decai": (0, 1, "linear")}}, "Did you mean 'decay'"),
    "static": ({"feedback-alignment": {"gains": (0, 1, "linear")}}, "no number of"),
    "two": ({POLLACK: {"decay": (0.1, 0.2)}}, r"give \(low, high"),
    "words": ({POLLACK: {"decay": ("a", "b", "log")}}, r"give \(low, high"),
    "turned": ({POLLACK: {"decay": (0.2, 0.1, "log")}}, "low below high"),
    "infinite": ({POLLACK: {"decay": (0.1, float("inf"), "log")}}, "low below high"),
    "nan": ({POLLACK: {"decay": (float("nan"), 1.0, "log")}}, "low below high"),
    "scale": ({POLLACK: {"decay": (0.1, 0.2, "cubic")}}, "'log' or 'linear'"),
    "log of 0": ({POLLACK: {"decay": (0.0, 0.2, "log")}}, "low must be above 0"),
    "nothing to draw": (
        {"backpropagation": {"rate": (0.1, 0.2, "log")}},
        "has no number that a sweep can draw",
    ),
    "too many": (
        {POLLACK: dict.fromkeys(map(str, range(MOST_NUMBERS + 1)), (0, 1, "linear"))},
        "16 numbers: at most 15",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_space_is_an_error_of_the_lab(name):
    spaces, message = WRONG[name]
    with pytest.raises(lab.LabError, match=message):
        checked_search_spaces(spaces, RULES)


def test_a_bound_that_the_rule_refuses_is_refused_before_any_work():
    spaces = {"feedback-alignment": {"removed_backward": (0.5, 3.0, "linear")}}
    with pytest.raises(lab.LabError, match=r"\['removed_backward'\] reaches 3: "):
        checked_search_spaces(spaces, RULES)


def test_a_space_that_no_sweep_draws_from_is_refused():
    with pytest.raises(lab.LabError, match="search_spaces needs a sweep"):
        compared(**{**ASKED, "sweep": 0}, search_spaces={POLLACK: NARROW})

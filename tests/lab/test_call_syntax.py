"""Rules with arguments, and numbers that are varied."""

import dataclasses
import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import flat
from support.command_line import run as run_line
from support.comparison_lines import asked, comparison, run
from support.lab_runs import compared

from apical import lab, rules
from apical.lab import LabError
from apical.lab._call_syntax import (
    NamedCall,
    parse_call,
    parse_call_or_name,
    split_names,
)
from apical.lab._registry import RULES
from apical.lab._rule_lookup import find_rules, find_spec
from apical.lab.report._html import rerun_command, sources
from apical.lab.report.figures._varied_number import varied
from apical.lab.run import _runner
from apical.lab.run._runner import draw_trials

LITERALS = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
SPELLED = st.builds(
    NamedCall,
    st.from_regex(r"[a-z][\w.:-]*", fullmatch=True),
    st.dictionaries(
        st.from_regex(r"(?!(True|False|None)$)[a-z]{2,9}_x", fullmatch=True), LITERALS
    ),
)


@given(st.lists(SPELLED, min_size=1))
def test_what_is_written_is_read_as_it_was(several):
    texts = [str(one) for one in several]
    parts = split_names(",".join(texts))
    assert [parse_call(part, "--rules", "") for part in parts] == several
    assert parts == texts


@given(st.text())
def test_any_text_is_a_name_or_is_refused(text):
    try:
        found = parse_call(text, "--rules", "a(b=1)")
    except LabError:
        assert parse_call_or_name(text) == NamedCall(text, {})
    else:
        assert parse_call(str(found), "--rules", "") == found


@pytest.mark.parametrize(
    "text", ["a(" + "(" * 9999, "a(x=" + "-" * 9999 + "1)", "a(\0)"]
)
def test_what_the_parser_cannot_bear_is_refused(text):
    with pytest.raises(LabError, match="cannot be read"):
        parse_call(text, "--rules", "a(b=1)")


def test_arguments_reach_the_rule_in_its_own_types():
    (name, spec), *rest = find_rules(
        "feedback_alignment(removed_backward=1,gains='feedback'), kolen-pollack"
    ).items()
    assert name == "feedback-alignment(removed_backward=1.0, gains='feedback')"
    made = rules.FeedbackAlignment(removed_backward=1.0, gains="feedback")
    assert spec.make() == made and type(spec.make().removed_backward) is float
    assert [name for name, _ in rest] == ["kolen-pollack"]
    assert find_spec(name) is RULES["feedback-alignment"]


def test_a_sweep_does_not_draw_what_was_given():
    drawn = RULES["kolen-pollack"].search_space
    assert "decay" in drawn  # or this shows nothing
    (spec,) = find_rules("kolen-pollack(decay=0.25)").values()
    assert "decay" not in spec.search_space
    assert "decay" not in draw_trials(4, (1e-3, 1.0), spec.search_space).numbers


@rules.rule
class Needing(rules.FeedbackAlignment):
    """A rule of a user's with a number that has no default."""

    needed: float = dataclasses.field(kw_only=True)


def test_arguments_are_given_to_a_rule_of_ones_own_that_has_no_defaults():
    name = f"{__name__}:Needing(needed=0.5, removed_backward=1)"
    (spec,) = find_rules(name).values()
    assert spec.make() == Needing(removed_backward=1.0, needed=0.5)
    with pytest.raises(LabError, match=r"cannot be made by Needing\(\)"):
        find_rules(f"{__name__}:Needing(removed_backward=1)")


WRONG = {
    "feedback-alignment(removed_backwards=1)": "Did you mean 'removed_backward'",
    "feedback-alignment(removed_backward='a')": "removed_backward='a' must be of the",
    "feedback-alignment(removed_backward=True)": "must be of the type of 0.0",
    "feedback-alignment(removed_backward=1e999)": "must be finite",
    "feedback-alignment(0.9)": "every argument needs its name",
    "feedback-alignment(removed_backward=0.9": "cannot be read",
    "direct-feedback-alignment(error=1)": "must be of the type of",
    "predictive-coding-sweep(inference='x')": "cannot be written in words",
    "untrained-hidden-layers(x=1)": "takes no arguments",
    "feedback-aligment(removed_backward=1)": "Did you mean 'feedback-alignment'",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_argument_is_named_with_what_there_is(text):
    with pytest.raises(LabError, match=WRONG[text]):
        find_rules(text)


@pytest.mark.parametrize(
    "vary", ["removed_backward=0,0.5", {"removed_backward": (0, 0.5, 0.0)}]
)
def test_each_rule_that_has_the_number_gets_a_row_for_each_value(vary):
    wanted = "backpropagation,feedback-alignment,sign-concordance(removed_backward=1)"
    names = list(find_rules(wanted, vary))
    assert names == [
        "backpropagation",
        *(f"feedback-alignment(removed_backward={value})" for value in (0.0, 0.5)),
        "sign-concordance(removed_backward=1.0)",  # what is given stays
    ]
    assert list(find_rules(names, vary)) == names  # so that a comparison can go on


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("removed=0,1", "no number of these rules is called 'removed'.*'removed_f"),
        ("removed_backward", "write a number and its values: --vary removed_backw"),
        ("removed_backward=", "'' cannot be read"),
        ("removed_backward=0,a", "'a' cannot be read"),
        ("removed_backward=0,'a'", "must be of the type of 0.0"),
        ({"removed_backward": [0], "gains": ["x"]}, "vary names 2 numbers"),
    ],
)
def test_a_number_that_cannot_be_varied_is_refused(vary, message):
    with pytest.raises(LabError, match=message):
        find_rules("backpropagation,feedback-alignment", vary)


@pytest.fixture
def no_cost(monkeypatch):
    monkeypatch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})


@pytest.mark.usefixtures("no_cost")
def test_a_rule_of_ones_own_stands_beside_backpropagation_and_the_control(tmp_path):
    own = {"mine": rules.FeedbackAlignment(), "class": rules.WeightPerturbation}
    given = ["backpropagation", own, "untrained-hidden-layers"]
    asked = {"rules": given, "vary": "removed_backward=0,0.9", "epochs": 1}
    result = compared(**asked, out=tmp_path, report=True)
    mine = [f"mine(removed_backward={value})" for value in (0.0, 0.9)]
    assert [row.rule for row in result.rows] == [
        *("backpropagation", *mine),
        *("class", "untrained-hidden-layers"),
    ]
    said = [json.loads(row.hyper_parameters) for row in result.rows[1:3]]
    assert [numbers["removed_backward"] for numbers in said] == [0.0, 0.9]
    assert (tmp_path / "varied.svg").exists()
    assert 'aria-label="Figure varied"' in (tmp_path / "report.html").read_text()
    assert compared(**asked, out=tmp_path, resume=True).records == result.records
    with pytest.raises(LabError, match="rules given as objects"):
        lab.resume(tmp_path)


@pytest.mark.sweep
@pytest.mark.usefixtures("no_cost")
def test_the_command_line_takes_them_and_goes_on_with_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = "--model mlp --epochs 1 --seeds 1 --batch-size 512 --out o"
    result = run_line(
        f"compare {few} --vary removed_backward=0,0.9",
        "--rules feedback-alignment,weight-perturbation(noise=0.02)",
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.count("feedback-alignment(removed_backward=") >= 2
    assert run_line("compare --resume o").exit_code == 0
    wrong = run_line("compare --rules generec --vary removed_backward=0 --out p")
    assert wrong.exit_code == 2 and "no number of these rules" in flat(wrong.stderr)


def test_rows_that_differ_in_one_argument_alone_are_a_curve():
    names = [f"feedback-alignment(removed_backward={x})" for x in (0.5, 0.0)]
    others = ["feedback-alignment(removed_backward=0.5, gains='feedback')", "mine (a)"]
    records = [line for name in (*names, *others) for line in run(rule=name)]
    (curve,) = varied(comparison(records).rows)
    assert (curve.rule, curve.number) == ("feedback-alignment", "removed_backward")
    assert [value for value, _ in curve.points] == [0.0, 0.5]
    assert [row.rule for _, row in curve.points] == names[::-1]


def test_the_page_tells_how_to_run_them_again_and_whom_to_cite():
    name = "feedback-alignment(removed_backward=0.5, gains='forward')"
    told = rerun_command(asked(run(rule=name) + run(rule="kolen-pollack"))).command
    words = shlex.split(told)
    text = words[words.index("--rules") + 1]
    assert list(find_rules(text)) == [name, "kolen-pollack"]
    entries, uncited = sources([name, "mine(a=1)"])
    assert len(entries) == 1 and uncited == ["mine(a=1)"]

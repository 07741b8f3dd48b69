"""Tables, records and pictures of a measurement."""

import json

import pytest
from support.locality import backpropagation

import apical
from apical.measure import Cost, Expense
from apical.rules._base import NEEDS


def test_the_table_has_a_line_for_each_leaf_and_the_needs():
    lines = str(backpropagation()).splitlines()
    assert lines[0] == "Backpropagation"
    assert [line.split()[0] for line in lines[2:10]] == [
        row.name for row in backpropagation().rows
    ]
    assert lines[10].startswith("needs: weight transport")


def test_records_can_be_written_as_json():
    records = json.loads(json.dumps(backpropagation().to_records()))
    assert records[1]["name"] == "0.w"
    assert records[1]["of"] == ["1.w", "2.w", "3.w"]
    assert records[1]["label"] == [3, 3]


def test_the_picture_has_a_strip_for_each_rule():
    from matplotlib.figure import Figure

    found = backpropagation()
    ax = apical.measure.plot_needs([found, found], labels=["a", "b"], ax=Figure().gca())
    assert [text.get_text() for text in ax.get_xticklabels()] == list(NEEDS)
    full = [p for p in ax.patches if p.get_facecolor()[3] > 0]
    assert len(full) >= 2 * len(found.needs)


def test_a_picture_needs_a_name_for_each_strip():
    with pytest.raises(ValueError, match="one name for each of the 1 rules"):
        apical.measure.plot_needs([backpropagation()], labels=["a", "b"])


def a_cost(seconds, memory, depth):
    counts = dict.fromkeys(("compile_seconds", "flops", "xla_flops", "xla_bytes"))
    ratio = Expense(seconds, (0.0, 9.0), **counts, memory_bytes=memory, depth=depth)
    return Cost(ratio, ratio, ratio)


def test_the_costs_stand_beside_the_strips():
    from matplotlib.figure import Figure

    found, ax = backpropagation(), Figure().gca()
    costs = [a_cost(1.25, 2.0, None), a_cost(3.0, 4.0, 5.0)]
    apical.measure.plot_needs([found, found], costs=costs, ax=ax)
    titles = [text.get_text() for text in ax.get_xticklabels()]
    assert titles == [*NEEDS, "time", "memory", "depth"]
    said = [(text.get_text(), text.get_position()[1]) for text in ax.texts]
    assert sorted(said) == [
        *(("1.2", 0), ("2.0", 0), ("3.0", 1), ("4.0", 1), ("5.0", 1), ("?", 0)),
    ]


def test_a_picture_needs_a_cost_for_each_strip():
    with pytest.raises(ValueError, match="cost of each of the 1 rules"):
        apical.measure.plot_needs([backpropagation()], costs=[])

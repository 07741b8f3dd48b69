"""The figures of a comparison, for every outcome of a run."""

import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from support.comparison_lines import (
    comparison,
    cost,
    diverged,
    layers,
    record,
    refused,
    run,
    trials,
    whole,
)

from apical.lab._registry import BASELINE, COMPARED, CONTROL, RULES, SQUARED
from apical.lab.report._html import inline
from apical.lab.report._report import draw_all, write_report
from apical.lab.report._summary import summarise
from apical.lab.report.figures._axes import mark_ratios
from apical.lab.report.figures._costs import draw_costs, spread
from apical.lab.report.figures._curves import draw_curves
from apical.lab.report.figures._layers import draw_layers
from apical.lab.report.figures._layers import layers as of_run
from apical.lab.report.figures._style import NAMED, figure_style, line_styles, render
from apical.lab.report.figures._trials import draw_trials, working_range

ODD = "<b>&amp;$x_1$</b>", "_hidden", "日本", "a-name-far-too-long-for-any-legend" * 3


def words(svg):
    """What can be read in a figure."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [element.text for element in found]


def drawn(draw, *lines):
    with figure_style():
        return draw(*lines)


def seen(figure):
    with figure_style():
        return words(render(figure).svg)


# ---------------------------------------------------------------- the files


def test_every_figure_is_written_in_both_forms(tmp_path):
    write_report(whole(models=("mlp",)), tmp_path)
    for name in ("figure", "layers", "cost", "trials"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert words((tmp_path / f"{name}.svg").read_text("utf-8"))
    assert not list(tmp_path.glob("*.new"))


def test_equal_comparisons_give_equal_bytes_and_others_do_not():
    one = {"models": ("mlp",), "rules": (BASELINE,)}
    first, rerun_command, other = (draw_all(whole(**one, seeds=n)) for n in (3, 3, 2))
    assert first == rerun_command
    assert first["figure"].svg != other["figure"].svg
    assert first["figure"].png != other["figure"].png


def test_the_readers_own_style_changes_nothing_and_what_is_not_there_is_not_drawn():
    plain = draw_all(comparison(run()))
    assert set(plain) == {"figure", "cost"}
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "axes.grid": False}):
        assert draw_all(comparison(run())) == plain


CASES = {
    "one seed": run(seeds=1),
    "one epoch": run(epochs=1),
    "only begun": run(reached=0),
    "unfinished": run() + run(rule="kolen-pollack", reached=1),
    "a seed diverged": run() + diverged(),
    "all diverged": diverged(rule=BASELINE, lost=(0, 1, 2)),
    "refused": run() + refused(),
    "nothing but refused": refused(),
    "no baseline": run(rule="kolen-pollack"),
    "odd names": [line for name in ODD for line in run(ODD[-1], name)] + run(ODD[0]),
}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("records", CASES.values(), ids=CASES)
def test_figures_are_drawn_whatever_happened(records):
    found = comparison(records, layers(records), trials(lost=range(8)), [cost()])
    assert all(words(drawn.svg) for drawn in draw_all(found).values())


# ---------------------------------------------------------------- the looks


def test_twenty_rules_can_be_told_apart_by_colour_and_dashes():
    names = [*COMPARED, *(f"rule {i}" for i in range(14))]
    found = line_styles(names)
    assert len({look[:2] for look in found.values()}) == len(names) > 20
    assert list(found) == names


def test_all_rules_can_be_told_apart_by_colour_dashes_and_marker():
    assert len(set(line_styles(RULES).values())) == len(RULES) > 24


def test_backpropagation_and_the_control_look_the_same_in_every_comparison():
    alone, among = (
        line_styles([CONTROL, BASELINE]),
        line_styles(["x", BASELINE, "y", CONTROL]),
    )
    assert alone[BASELINE] == among[BASELINE] != among["x"]
    assert alone[CONTROL] == among[CONTROL]


def test_no_two_uses_share_a_colour_on_paper():
    assert len({colour.light for colour in NAMED.values()}) == len(NAMED)


# ---------------------------------------------------------------- accuracy, alignment


def test_the_curve_is_the_mean_and_the_band_its_interval():
    records = run()
    row = summarise(records)[0]
    accuracy = drawn(draw_curves, records, [row]).axes[0]
    (line,) = accuracy.lines
    assert line.get_ydata()[-1] == pytest.approx(100 * row.accuracy.mean)
    band = accuracy.collections[0].get_paths()[0].vertices
    high = band[band[:, 0] == 2, 1].max()
    assert high == pytest.approx(100 * (row.accuracy.mean + row.accuracy.half))


def test_the_curve_of_alignment_is_that_of_the_hidden_layers():
    records = run()
    alignment = drawn(draw_curves, records, summarise(records)).axes[1]
    assert alignment.lines[0].get_ydata() == pytest.approx([0.5, 0.7, 0.9])
    assert "hidden layers" in alignment.get_title(loc="left")


@pytest.mark.parametrize("draw", ["curves", "costs"])
def test_what_counts_as_equal_to_backpropagation_is_a_band_around_it(draw):
    records = run() + run(rule=SQUARED, descends="squared-error", gain=-0.04)
    records += run(rule="kolen-pollack", gain=-0.02)
    rows = summarise(records, [cost()])
    figure = drawn(draw_costs, rows) if draw == "costs" else draw_curves(records, rows)
    panel = figure.axes[0 if draw == "costs" else 2]
    ends = sorted((b.get_y(), b.get_y() + b.get_height()) for b in panel.patches)
    assert ends == [pytest.approx((86, 88)), pytest.approx((90, 92))]


def test_the_bands_are_said_to_be_over_seeds_alone():
    records = run(sweep=8)
    text = seen(drawn(draw_curves, records, summarise(records)))
    assert any("bands: 95 % intervals over seeds)" in each for each in text)


def test_a_rule_that_was_lost_says_so_in_the_legend():
    records = run() + diverged() + refused()
    text = seen(drawn(draw_curves, records, summarise(records)))
    assert {"kolen-pollack (diverged)", "sign-concordance (refused)", BASELINE} <= {
        *text
    }


def test_an_axis_of_ratios_has_1_and_every_value_and_few_ticks():
    figure = drawn(draw_costs, summarise(run()))
    for values in ([], [1.0], [0.2, 3.0], [1.0, 400.0], [1e-4, 1e5, math.nan, 0.0]):
        axes = figure.add_subplot()
        mark_ratios(axes, values)
        low, high = axes.get_xlim()
        assert low < min([1.0, *(v for v in values if v > 0)])
        assert high > max([1.0, *(v for v in values if v > 0)])
        inside = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert 1.0 in [round(tick, 9) for tick in inside] and len(inside) <= 10


# ---------------------------------------------------------------- cost


def test_each_panel_has_each_rule_at_its_cost_and_the_names_stand_beside():
    records = run() + run(rule="kolen-pollack", gain=-0.05)
    costs = [cost(ratio=1.0), cost(rule="kolen-pollack", ratio=3.0)]
    figure = drawn(draw_costs, summarise(records, costs))
    flops = [line.get_xdata()[0] for line in figure.axes[1].lines]
    assert {1.0, 3.0} <= set(flops)
    names = [text.get_text() for text in figure.axes[4].texts]
    assert names == ["kolen-pollack", BASELINE]  # from the lowest accuracy up


def test_where_nothing_was_measured_the_panel_says_so():
    assert seen(drawn(draw_costs, summarise(run()))).count("not measured") == 3
    assert "not measured" not in seen(drawn(draw_costs, summarise(run(), [cost()])))


def test_names_keep_their_order_and_their_distance():
    wanted = np.array([1.0, 1.1, 1.2, 9.9, 10.0])
    places = spread(wanted, gap=0.5, low=0.0, high=10.0)
    assert np.diff(places).min() > 0.5 - 1e-9
    assert places.min() >= 0.0 and places.max() <= 10.0 + 1e-9
    assert spread(np.array([2.0, 4.0]), 0.5, 0.0, 10.0).tolist() == [2.0, 4.0]


# ---------------------------------------------------------------- layers


def test_a_layer_is_the_mean_over_the_seeds_that_have_one():
    records = diverged(rule=BASELINE, lost=(1,))
    lines = layers(records, ("w",))
    for line in lines:
        if line["layer_alignment"] is not None:
            line["layer_alignment"] = 0.1 * line["seed"]
    (found,) = of_run(lines)
    assert found.epochs.tolist() == [0, 1, 2]
    assert found.alignment == pytest.approx([0.1, 0.1, 0.1])
    lost = of_run(layers(diverged(lost=(0, 1, 2)), ("w",)))[0].alignment
    assert np.isnan(lost).tolist() == [False, True, True]


def test_thirty_layers_are_in_the_circuits_order_and_six_of_them_named():
    blocks = [f"blocks.{i}" for i in range(29, -1, -1)]  # by letters the other way
    names = [f"{block}.{kind}" for block in blocks for kind in ("weight", "bias")]
    lines = layers(run(seeds=1), names, lambda place, line: place / 30)
    assert [layer.name for layer in of_run(lines[::-1])] == blocks
    figure = drawn(draw_layers, lines)
    text = seen(figure)
    assert [t for t in text if t.startswith("blocks")] == [
        blocks[i] for i in (0, 6, 12, 17, 23, 29)
    ]
    (drawn_lines,) = next(a for a in figure.axes if a.collections).collections
    assert len(drawn_lines.get_segments()) == 30
    ends = [to_hex(colour) for colour in drawn_lines.get_edgecolor()[[0, -1]]]
    assert ends == [NAMED["depth-0"].light, NAMED["depth-7"].light]
    assert [d is None for _, d in drawn_lines.get_linestyle()] == [True] * 29 + [False]


def test_a_parameter_that_is_not_in_the_loss_has_no_line():
    lines = layers(run(), ("a.w", "unread.w", "b.w"))
    for line in lines:
        if line["layer"] == "unread":
            line.update(layer=None, hidden=False, layer_alignment=None)
    assert [layer.name for layer in of_run(lines)] == ["a", "b"]
    assert seen(drawn(draw_layers, lines))
    assert seen(drawn(draw_layers, [ln for ln in lines if ln["layer"] is None]))


def test_a_panel_at_1_throughout_says_so_and_no_other():
    aligned = layers(run(), value=lambda place, line: 1.0 - 0.001 * place)
    turned = layers(run(rule="kolen-pollack"), value=lambda place, line: 0.98)
    said = "1.00 in every layer"
    assert seen(drawn(draw_layers, aligned + turned)).count(said) == 1
    assert said not in seen(drawn(draw_layers, turned))


# ---------------------------------------------------------------- trials


def test_the_working_range_stops_at_the_first_trial_that_is_worse_or_diverged():
    full = working_range(trials())
    assert (full.inside, full.factor) == (3, pytest.approx(9.0))
    cut = working_range(trials(lost=(5,)))
    assert (cut.inside, cut.high) == (2, pytest.approx(full.high / 3))
    assert working_range(trials(lost=range(8))) is None


def test_a_panel_of_trials_has_a_point_for_each_and_a_cross_for_the_lost():
    lines = trials() + trials(rule="kolen-pollack", lost=(0, 1))
    figure = drawn(draw_trials, lines)
    panel = next(a for a in figure.axes if a.get_title(loc="left") == "kolen-pollack")
    baseline, points, chosen, crosses = panel.lines
    assert [len(line.get_xdata()) for line in (baseline, points, chosen, crosses)] == [
        *(8, 6, 1, 2)
    ]
    assert chosen.get_ydata() == pytest.approx([95.0])
    assert "× 9" in seen(figure)


# ---------------------------------------------------------------- in the page


def test_a_figure_in_the_page_has_ids_of_its_own_and_the_pages_colours():
    svg = draw_all(comparison([record(), record(epoch=2)]))["figure"].svg
    found = inline(svg, "figure", 'a "label" <here>')
    ids = re.findall(r'\bid="([^"]+)"', found)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', found)
    assert all(name.startswith("figure-") for name in ids) and used
    assert set(used) <= set(ids) and len(ids) == len(set(ids))
    assert "var(--ink)" in found and "var(--baseline)" in found
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r'"#?figure-[^"]*"', "", found))
    assert "http" not in found and "<style" not in found
    ElementTree.fromstring(found)
    with pytest.raises(ValueError, match="no viewBox"):
        inline("<svg></svg>", "figure", "label")

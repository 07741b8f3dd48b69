"""A `Comparison` in Python, in a notebook, in pandas and on axes."""

import builtins
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure
from support.comparison_lines import (
    BASELINE,
    CONTROL,
    comparison,
    diverged,
    refused,
    run,
    whole,
)
from support.lab_files import tiny
from support.lab_runs import compared

from apical import lab
from apical.lab.run import _runner

FOUND = whole()


def test_it_prints_in_a_line():
    said = "Comparison(digits: 2 models, 3 rules, 3 seeds, 2 epochs)"
    assert repr(FOUND) == str(FOUND) == said
    assert repr(lab.Comparison([])) == "Comparison(no records yet)"


def cells(html):
    return re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html)


def test_a_notebook_shows_its_tables():
    html = FOUND._repr_html_()
    assert html.count("<table") == 2 and "<b>cnn</b>" in html
    shown = cells(html)
    assert shown[0] == "rule" and "accuracy, %" in shown
    assert shown.count("kolen-pollack") == 2 and "91.0 ± 3.2" in shown
    assert "<script" not in html and "http" not in html
    assert "no records" in lab.Comparison([])._repr_html_()


def test_a_notebook_shows_names_as_they_are():
    html = comparison(run(rule="<b>mine</b>"))._repr_html_()
    assert "&lt;b&gt;mine&lt;/b&gt;" in html and "<b>mine" not in html


@pytest.mark.parametrize("of", ["records", "layers", "trials", "costs"])
def test_lines_are_a_frame(of):
    found, lines = FOUND.frame(of), getattr(FOUND, of)
    assert isinstance(found, pandas.DataFrame) and len(found) == len(lines)
    assert list(found.columns) == list(lines[0])
    assert found.equals(pandas.DataFrame(lines))
    assert len(lab.Comparison([]).frame(of)) == 0


def test_rows_are_a_frame_without_parts():
    found, rows = FOUND.frame("rows"), FOUND.rows
    line, row = found.iloc[1], rows[1]
    assert (line["model"], line["rule"], line["score"]) == (*row[:2], "accuracy")
    assert (line["accuracy"], line["accuracy_half"]) == row.accuracy
    assert line["difference"] == row.difference.mean
    assert line["needs"] == "weight transport, separate phases"
    assert not any(isinstance(cell, tuple) for cell in found.to_numpy().ravel())


def test_another_kind_of_line_is_refused_with_those_there_are():
    with pytest.raises(lab.LabError, match="Did you mean 'records'"):
        FOUND.frame("record")


def test_without_pandas_it_is_said_what_to_do(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install pandas.*`\.layers`"):
        FOUND.frame("layers")


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.mark.parametrize(("panel", "top"), [("score", 91.0), ("alignment", 0.9)])
def test_curves_are_drawn_on_given_axes_and_can_be_told_apart(axes, panel, top):
    assert FOUND.plot(axes, panel, "cnn") is axes
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert set(lines) == {BASELINE, "kolen-pollack", CONTROL}
    assert lines[BASELINE].get_ydata()[-1] == pytest.approx(top)
    assert ("cnn" in axes.get_title()) == (panel == "score")
    legend = axes.legend()
    assert [text.get_text() for text in legend.get_texts()] == list(lines)


def test_points_are_drawn_on_given_axes(axes):
    FOUND.plot(axes, "time")
    assert len(axes.containers) == 3
    assert "accuracy (%) against time" in axes.get_title()
    assert axes.get_legend_handles_labels()[1] == [BASELINE, "kolen-pollack", CONTROL]


def test_what_was_lost_is_drawn_as_far_as_it_came(axes):
    comparison([*run(), *diverged(lost=(0, 1, 2)), *refused()]).plot(axes)
    ends = {line.get_label(): len(line.get_xdata()) for line in axes.get_lines()}
    assert ends == {BASELINE: 3, "kolen-pollack": 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("accuracies",), "no panel is called 'accuracies'"),
        (("score", "cnnn"), "no model is called 'cnnn'. Did you mean"),
    ],
)
def test_a_panel_or_model_that_is_not_there_is_refused(axes, wrong, message):
    with pytest.raises(lab.LabError, match=message):
        FOUND.plot(axes, *wrong)


# --------------------------------------------------------------------- the callback


class Counting(eqx.Module):
    """A model that counts its training steps in its statistics."""

    weight: jax.Array

    def __call__(self, x, count, training):
        logits = x.reshape(len(x), -1) @ self.weight
        return logits, count + jnp.where(training, 1, 0)


def counting(key, shape, classes):
    """A user's factory, with statistics."""
    weight = jax.random.normal(key, (int(np.prod(shape)), classes))
    return Counting(weight / 4), jnp.zeros((), int)


def told(monkeypatch, **keywords):
    monkeypatch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})
    moments = []
    found = compared(callbacks=[moments.append], rules=[BASELINE, CONTROL], **keywords)
    return found, moments


def test_a_callback_is_told_of_every_epoch_and_line(monkeypatch):
    found, moments = told(monkeypatch, models=["mlp"])
    assert [(m.model, m.rule, m.epoch, m.epochs) for m in moments] == [
        ("mlp", rule, epoch, 2) for rule in (BASELINE, CONTROL) for epoch in (0, 1, 2)
    ]
    assert [line for m in moments for line in m.records] == found.records
    assert [line for m in moments for line in m.layers] == found.layers


def test_a_callback_is_given_the_trained_models(monkeypatch):
    found, moments = told(monkeypatch, models={"own": counting})
    first, _, last = moments[:3]
    assert len(last.trained) == 2  # seeds
    (model, steps), (start, none) = last.trained[1], first.trained[1]
    assert isinstance(model, Counting) and steps == 2 * (40 // 8) and none == 0
    assert bool((model.weight != start.weight).any())
    data = tiny()
    logits, _ = model(data.test_x, steps, False)
    right = float((logits.argmax(-1) == data.test_y).mean())
    assert right == pytest.approx(found.records[5]["test_accuracy"])
    assert first.trained[1][0].weight.shape == (16, 10)


def test_a_callback_that_fails_stops_the_comparison(monkeypatch):
    def stop(moment):
        raise StopIteration(moment.epoch)

    monkeypatch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})
    with pytest.raises(StopIteration, match="0"):
        compared(callbacks=[stop], rules=[BASELINE])

"""The table of rules and models says what happens, and the page has it."""

import importlib
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from apical.rules import Backpropagation, FeedbackAlignment, rule

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
tool = importlib.import_module("rules_and_models")

PAGE = tool.PAGE.read_text("utf-8")
SHOWN = tool.read(PAGE)
# To compute every word anew takes minutes: `python tools/rules_and_models.py --check`.
# Here every refusal is, and one other word of every second model, by turns.
TURNS = list(enumerate(tool.RULES.items()))
SAMPLE = [
    (name, *TURNS[i % len(TURNS)][1]) for i, name in enumerate(list(tool.ZOO)[::2])
]


@pytest.mark.parametrize("name", tool.ZOO)
def test_a_rule_refuses_where_the_page_says_so(name):
    shown = {c: o for c, o in SHOWN[name].items() if o.word not in ("exact", "works")}
    found = {column: tool.refusal(name, rule) for column, rule in tool.RULES.items()}
    assert {column: each for column, each in found.items() if each} == shown


@pytest.mark.parametrize(("name", "column", "rule"), SAMPLE)
def test_a_rule_does_what_the_page_says(name, column, rule):
    assert tool.outcome(name, rule) == SHOWN[name][column]


def test_the_page_has_every_model_and_no_other():
    assert list(SHOWN) == list(tool.ZOO)


def test_the_page_is_what_the_generator_writes():
    assert tool.with_table(PAGE, SHOWN) == PAGE


# ------------------------------------------------------------------------- controls


@rule
class Infinite(Backpropagation):
    """Backpropagation whose update is not finite."""

    def credit(self, *args):
        credit = super().credit(*args)
        return credit._replace(grads=jax.tree.map(lambda g: g / 0, credit.grads))


@rule
class Traced(Backpropagation):
    """Backpropagation that counts for double where its number is traced."""

    rate: float = 1.0

    def credit(self, *args):
        times = 1.0 if isinstance(self.rate, float) else 2.0
        credit = super().credit(*args)
        return credit._replace(grads=jax.tree.map(lambda g: times * g, credit.grads))


@rule
class Kinked(Backpropagation):
    """Backpropagation times a number whose derivative is not finite."""

    rate: float = 0.0

    def credit(self, *args):
        credit, times = super().credit(*args), 1 + jnp.sqrt(self.rate)
        return credit._replace(grads=jax.tree.map(lambda g: times * g, credit.grads))


def test_an_update_that_is_not_finite_is_undefined():
    found = tool.outcome("mlp_tanh", Infinite())
    assert found == ("undefined", "some number of the update is not finite")


def test_what_is_wrong_with_traced_numbers_is_said():
    assert tool.flaw("mlp_tanh", Traced()) == "off by 1 where its numbers are traced"
    assert "not finite" in tool.flaw("mlp_tanh", Kinked())
    assert tool.flaw("mlp_tanh", FeedbackAlignment()) == ""


def test_a_message_is_told_without_what_belongs_to_one_model():
    words = (
        "Parameter 'w_opaque, w_above' at /a/b.py:1:2 (f.<locals>.g) (w_below): 'x'."
    )
    found = tool._general(words, tool.problem("weight_in_custom_vjp"))
    assert found == "Parameter '...' at ... (...): 'x'."


# ------------------------------------------------------------- what is written by hand


def test_every_statement_of_the_page_names_a_test_and_every_test_is_named():
    files = (ROOT / "tests").glob("test_semantics*.py")
    text = "\n".join(path.read_text("utf-8") for path in files)
    defined = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named == defined
    assert len(named) > 12

"""The page of rules and models has the tables that its tool writes."""

import importlib
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from apical import rules as public
from apical.rules import Backpropagation, FeedbackAlignment, Rule, rule

# A rule through time names the parameters that have no trace.
pytestmark = pytest.mark.filterwarnings("ignore:.* keeps no eligibility trace")
ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
tool = importlib.import_module("rules_and_models")

PAGE = tool.PAGE.read_text("utf-8")
SHOWN = tool.read(PAGE)
# Computing every entry again takes minutes: `python tools/rules_and_models.py --check`.
# Here every refusal of the first family is and, by turns, some of each later one; and
# one other word of every second model.
FIRST, *LATER = tool.FAMILIES
TURNS = [
    (family, *each) for family, rules in tool.FAMILIES.items() for each in rules.items()
]
SAMPLE = [(name, *TURNS[2 * i % len(TURNS)]) for i, name in enumerate(tool.ZOO)][::2]


def tried(turn, family):
    """All rules of the first family; of another, one that it is the turn of."""
    rules = list(tool.FAMILIES[family].items())
    return dict(rules if family == FIRST else rules[turn % len(rules) :][:1])


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize(("turn", "name"), list(enumerate(tool.ZOO)))
def test_a_rule_refuses_where_the_page_says_so(turn, name):
    for family in tool.FAMILIES:
        rules = tried(turn, family)
        words = {column: SHOWN[family][name][column] for column in rules}
        shown = {c: o for c, o in words.items() if o.word not in ("exact", "works")}
        found = {column: tool.refusal(name, rule) for column, rule in rules.items()}
        assert {column: each for column, each in found.items() if each} == shown


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize(("name", "family", "column", "rule"), SAMPLE)
def test_a_rule_does_what_the_page_says(name, family, column, rule):
    assert tool.outcome(name, rule) == SHOWN[family][name][column]


@pytest.mark.parametrize("family", tool.FAMILIES)
def test_the_page_has_every_model_and_no_other(family):
    assert list(SHOWN[family]) == list(tool.ZOO)


def test_the_page_says_from_which_model_on_weights_are_hard_to_follow():
    models = list(tool.ZOO)
    first = re.findall(r"The models from `(\w+)` on", PAGE)
    assert [models[models.index(name) :] for name in first] == [list(tool.OPAQUE)]


def test_every_rule_is_in_a_table_or_named_as_left_out():
    kinds = {n: k for n, k in vars(public).items() if isinstance(k, type)}
    every = {n for n, k in kinds.items() if issubclass(k, Rule) and k is not Rule}
    families = tool.FAMILIES.values()
    tabled = {type(each).__name__ for rules in families for each in rules.values()}
    left_out = PAGE.split("are not in the tables")[1].split("\n\n")[0]
    assert every - tabled == set(re.findall(r"`(\w+)`", left_out)) & every
    assert tabled <= every


def test_the_page_is_what_the_generator_writes():
    assert tool.with_tables(PAGE, SHOWN) == PAGE


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


# Of these files every test is of a statement of the page; of the others some are.
WHOLE = ("circuit/test_semantics.py", "circuit/test_semantics_of_weights.py")
OTHERS = (
    "circuit/test_gains_and_synapses.py",
    "circuit/test_weights_with_arguments.py",
    "rules/feedback/test_direct_feedback_of_several_outputs.py",
    "rules/feedback/test_frozen_feedback.py",
    "rules/test_several_outputs_by_hand.py",
)


def named_in(*files):
    text = "\n".join((ROOT / "tests" / file).read_text("utf-8") for file in files)
    return set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))


def test_every_statement_of_the_page_names_a_test_and_every_test_is_named():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named_in(*WHOLE) <= named <= named_in(*WHOLE, *OTHERS)
    assert all(named & named_in(file) for file in (*WHOLE, *OTHERS))

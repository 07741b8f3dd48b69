"""The scripts of `examples/losses` run in a short form, by a rule that is named."""

import re

import numpy as np
import pytest
from support.docs import DOCS, blocks
from support.examples import FOLDER, NAMES, example

from apical.lab import NOT_COMPARED, RULES
from apical.rules import Backpropagation, FeedbackAlignment

common = example("common")
PAGES = sorted((DOCS / "examples").glob("*.md"))

# Arguments of a short run, the rule, and what must be true of what it returns.
SHORT = {
    "autoencoder": ({"updates": 300}, FeedbackAlignment, lambda f: f["deep"][0] < 6),
    "boltzmann_machine": (
        {"updates": 300},
        FeedbackAlignment,
        lambda f: f["persistent"] < 3.4 < 4 < f["no dream"],
    ),
    "gan": (
        {"updates": 600},
        Backpropagation,
        lambda f: f["trained generator"] < 0.8 * f["untrained generator"],
    ),
    "gaussian_bayes_net": (
        {"examples": 16},
        FeedbackAlignment,
        lambda f: f["likelihood"] < 0.9,
    ),
    "generative_perception": (
        {},
        FeedbackAlignment,
        lambda f: not np.any(f["gaussian"][0]),  # it leaves the belief at the prior
    ),
    "hopfield_unlearning": (
        {"nights": 10},
        FeedbackAlignment,
        lambda f: f[0.3][-1] > f[0.3][0] + 0.2,
    ),
    "hypernetwork": (
        {"updates": 150, "lifetime": 3},
        FeedbackAlignment,
        lambda f: f["innate"][0] > f["random"][0] + 0.1,
    ),
    "ising_lattice": (
        {"side": 4, "updates": 100},
        FeedbackAlignment,
        lambda f: f["trained"] < 0.2,
    ),
    "missing_word": (
        {"updates": 400},
        FeedbackAlignment,
        lambda f: f[1] < f[0] < f[1] + 0.3,
    ),
    "sum_product_network": (
        {"updates": 40, "repeats": 2},
        FeedbackAlignment,
        lambda f: f["marginals"] < 1e-5 and f["test"] < 40,
    ),
    "variational_autoencoder": (
        {"updates": 300},
        FeedbackAlignment,
        lambda f: f[0] > f[1] and f[2] < 33,
    ),
    "wake_sleep": ({"updates": 150}, FeedbackAlignment, lambda f: f[0] < 3.5 < f[1]),
}


def test_every_script_has_a_short_form():
    assert list(SHORT) == NAMES


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", NAMES)
def test_a_script_learns_in_its_short_form(name, capsys):
    if name == "ising_lattice":
        pytest.importorskip("thrml")
    arguments, rule, holds = SHORT[name]
    found = example(name).main(rule(), **arguments)
    assert holds(found), found
    assert len(capsys.readouterr().out.splitlines()) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_short_and_uses_what_is_public(name):
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    assert text.count("\n") <= 160
    assert not re.search(r"apical[\w.]*\._|from \._", text)
    assert f"`python {name}.py --rule NAME`" in text


# ---- The rule by its name


def test_every_rule_of_the_lab_can_be_named():
    assert set(common.SPECS) == {*RULES, *NOT_COMPARED}
    assert isinstance(common.rule_named("feedback-alignment"), FeedbackAlignment)
    with pytest.raises(ValueError, match=r"no rule is named 'backprop'.*kolen-pollack"):
        common.rule_named("backprop")


@pytest.mark.parametrize(
    ("words", "default", "kind"),
    [
        ([], None, Backpropagation),
        ([], FeedbackAlignment(), FeedbackAlignment),
        (["--rule", "feedback-alignment"], Backpropagation(), FeedbackAlignment),
    ],
)
def test_the_rule_of_the_command_line_reaches_the_script(
    words, default, kind, monkeypatch
):
    called = []
    monkeypatch.setattr("sys.argv", ["gan.py", *words])
    common.run(called.append, default)
    assert [type(rule) for rule in called] == [kind]


def test_a_wrong_name_ends_the_script_with_the_names_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gan.py", "--rule", "backprop"])
    with pytest.raises(SystemExit):
        common.run(print)
    assert "feedback-alignment" in capsys.readouterr().err


def test_a_rule_that_refuses_a_script_says_so():
    with pytest.raises(ValueError, match=r"score-function|bernoulli"):
        example("gan").main(common.rule_named("score-function"), updates=1)


# ---- The pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_is_that_of_the_scripts(page):
    texts = [(FOLDER / f"{name}.py").read_text("utf-8") for name in NAMES]
    for block in blocks(page.read_text("utf-8")):  # each an excerpt of a script
        for part in block.split("\n\n\n"):
            assert any(part.strip() in text for text in texts), part


def test_every_script_is_on_a_page():
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in NAMES if f"`{name}.py`" not in text] == []
    assert len(blocks(text)) >= len(NAMES)

"""Write the tables of docs/rules-and-models.md: every rule on every model of the zoo.

    python tools/rules_and_models.py            # write them
    python tools/rules_and_models.py --check    # fail if they differ
    python tools/rules_and_models.py --columns "PEPITA()"  # run this rule alone

Each entry comes from running the rule under `jax.jit` and `jax.vmap` over seeds. With
`--columns`, the other rules are only checked for refusals. For rules of feedback and of
predictive coding, errors inside `jax.grad` with respect to the rule's numbers are
printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import string
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from generated_section import replaced
from rules_and_models_columns import FAMILIES, FEEDBACK

import apical
from apical.rules import PredictiveCoding, Rule

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "rules-and-models.md"
START = "<!-- made by tools/rules_and_models.py -->"
END = "<!-- end of what it makes -->"

sys.path.append(str(ROOT / "tests"))
from support.zoo import MODELS, OPAQUE, Model, backpropagation, learned  # noqa: E402

ZOO = {**MODELS, **{name: model for name, (model, _) in OPAQUE.items()}}
# The update equals backpropagation's if it is this close, relative to its size.
EXACT = 1e-4
NOT_FINITE = "some number of the update is not finite"
# Compilation takes most of the time: optimise little. Older XLAs have a second option.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
QUICKER = {**QUICK, "xla_cpu_use_fusion_emitters": False}

_KEYS = jax.random.split(jax.random.key(2), 2)


class Outcome(NamedTuple):
    """An entry of a table: a word, and the message behind it if there is one."""

    word: str
    message: str = ""


class Problem(NamedTuple):
    """A model at two seeds: the learned leaves are stacked, the rest is shared."""

    model: Model
    loss_fn: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    stacked: dict[str, jax.Array]
    rebuild: Callable[[Any], Any]


@cache
def problem(name: str) -> Problem:
    """The model of that name, made with two keys."""
    model = ZOO[name]
    loss_fn, params, args = model.make(jax.random.key(0))
    leaves, rebuild = learned(params)
    others, _ = learned(model.make(jax.random.key(1))[1])
    stacked = {path: jnp.stack([leaf, others[path]]) for path, leaf in leaves.items()}
    return Problem(model, loss_fn, params, args, stacked, rebuild)


def outcome(name: str, rule: Rule) -> Outcome:
    """The outcome of the rule on the model, at two seeds at once, compiled."""
    found = refusal(name, rule)
    if found:
        return found
    given = problem(name)
    grads = _compiled(jax.vmap(_update(given, rule)), _KEYS, given.stacked)
    if not _is_finite(grads):
        return Outcome("undefined", NOT_FINITE)
    return Outcome("exact" if _distance(grads, truth(name)) < EXACT else "works")


def refusal(name: str, rule: Rule) -> Outcome | None:
    """The refusal of the rule, or that JAX has no gradient; None if neither."""
    given = problem(name)
    init = _step(given, rule).init
    try:
        if given.model.separable:
            jax.eval_shape(lambda key: init(key, given.params, *given.args), _KEYS[0])
        else:  # dependence between examples is only seen in numbers
            init(_KEYS[0], given.params, *given.args)
    except ValueError as error:
        return Outcome("refuses", _general(str(error), given))
    undefined = _without_gradient(name)
    return Outcome("undefined", undefined) if undefined else None


def flaw(name: str, rule: Rule) -> str:
    """The error, if any, when the numbers of the rule are traced and differentiated."""
    if isinstance(rule, PredictiveCoding) and rule.inference is not None:
        return ""  # a sweep has one rate, 1, and inside loops it must be known
    if isinstance(rule, PredictiveCoding):
        steps = 1 if rule.prediction == "free" else rule.steps  # more take minutes
        rule = dataclasses.replace(rule, steps=steps, rate=rule.rate or 1.0)
    numbers, treedef = jax.tree.flatten(rule)
    given = problem(name)
    if not numbers or refusal(name, rule):
        return ""

    def run(key: jax.Array, leaves: Any, numbers: Any) -> Any:
        def effect(numbers: Any) -> Any:
            traced = jax.tree.unflatten(treedef, numbers)
            grads = _update(given, rule, traced)(key, leaves)
            return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(grads)), grads

        return jax.grad(effect, has_aux=True)(numbers)

    arguments = _KEYS[0], _first(given)
    slopes, grads = _compiled(run, *arguments, [jnp.float32(x) for x in numbers])
    if not _is_finite((slopes, grads)):
        return "not finite where its numbers are traced"
    off = _distance(grads, _compiled(_update(given, rule), *arguments))
    return f"off by {off:.1g} where its numbers are traced" if off > EXACT else ""


def _step(given: Problem, rule: Rule) -> Any:
    keywords = {"has_aux": given.model.has_aux, "batch_axes": given.model.batch_axes}
    options = {"target": _target(given, keywords), "input_argnums": _first_input(given)}
    return apical.train_step(given.loss_fn, rule, optax.sgd(0.1), **options, **keywords)


def _first_input(given: Problem) -> int:
    """The first argument that has examples."""
    batch = given.model.batch_axes
    if not isinstance(batch, tuple):
        return 0
    return next((i for i, axis in enumerate(batch) if axis is not None), 0)


def _target(given: Problem, keywords: Any) -> Callable[..., jax.Array]:
    """The first class for every example; any target will do."""

    def target(*args: Any) -> jax.Array:
        circuit = apical.trace(given.loss_fn, **keywords)(given.params, *args)
        *rest, classes = circuit.output_shape.shape
        none = jnp.zeros(rest, int)
        return jax.nn.one_hot(none, classes, dtype=circuit.output_shape.dtype)

    return target


def _update(given: Problem, rule: Rule, traced: Rule | None = None) -> Any:
    """One seed: the gradients, by the rule as it is or with its numbers traced."""

    def run(key: jax.Array, leaves: Any) -> Any:
        params = given.rebuild(leaves)
        state = _step(given, rule).init(key, params, *given.args)
        step = _step(given, rule if traced is None else traced)
        return learned(step(params, state, *given.args)[2].grads)[0]

    return run


def _is_finite(tree: Any) -> bool:
    return all(bool(np.all(np.isfinite(x))) for x in jax.tree.leaves(tree))


@cache
def _without_gradient(name: str) -> str:
    """Why JAX itself has no gradient for the model; empty if it has one."""
    given = problem(name)

    def gradient(params: Any) -> Any:
        options = {"has_aux": given.model.has_aux}
        return backpropagation(given.loss_fn, params, *given.args, **options)

    try:
        jax.eval_shape(lambda leaves: gradient(given.rebuild(leaves)), _first(given))
    except ValueError as error:
        return "JAX has no gradient: " + str(error).split(". ")[0] + "."
    return ""


def _first(given: Problem) -> Any:
    return jax.tree.map(lambda x: x[0], given.stacked)


@cache
def truth(name: str) -> Any:
    """The gradient of the loss, at both seeds."""
    given = problem(name)

    def gradient(leaves: Any) -> Any:
        options = {"has_aux": given.model.has_aux}
        params = given.rebuild(leaves)
        return backpropagation(given.loss_fn, params, *given.args, **options)[1]

    return _compiled(jax.vmap(gradient), given.stacked)


def _compiled(function: Callable[..., Any], *args: Any) -> Any:
    lowered = jax.jit(function).lower(*args)
    try:
        return lowered.compile(QUICKER)(*args)
    except jax.errors.JaxRuntimeError:
        return lowered.compile(QUICK)(*args)


def _distance(actual: Any, expected: Any) -> float:
    """The length of the difference of two trees, relative to that of the second."""
    off = jax.tree.map(
        lambda a, b: np.sum(np.square(np.subtract(a, b))), actual, expected
    )
    size = jax.tree.map(lambda b: np.sum(np.square(np.asarray(b))), expected)
    return float(sum(jax.tree.leaves(off)) / sum(jax.tree.leaves(size))) ** 0.5


def _general(message: str, given: Problem) -> str:
    """A message without the lines and the names of parameters of one model."""
    message = re.sub(r" at \S+\.py:\S+ \([^)]*\)", " at ...", message)
    message = re.sub(r" \(\S+\.py:\S+ \([^)]*\)\)", "", message)
    message = re.sub(r"-?\d+\.\d{3,}(e[-+]\d+)?", "...", message)
    message = " ".join(message.split())
    names = "|".join(re.escape(n) for n in _paths(given.params))
    listed = rf"(?:{names})(?: \+ (?:{names})|, (?:{names}))*"
    return re.sub(rf"'{listed}'", "'...'", re.sub(rf"\({listed}\)", "(...)", message))


def _paths(params: Any) -> list[str]:
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    return [jax.tree_util.keystr(p, simple=True, separator=".") for p in paths]


# ------------------------------------------------------------------------- the page

Rows = dict[str, dict[str, Outcome]]
Tables = dict[str, Rows]


def tables(columns: list[str] | None, shown: Tables) -> tuple[Tables, list[str]]:
    """All outcomes, by family, model and column, and all errors.

    With some columns named, the others keep the entry that is shown, unless what they
    refuse has changed.
    """
    found: Tables = {family: {} for family in FAMILIES}
    flaws = []
    for name in ZOO:
        for family, rules in FAMILIES.items():
            before = shown.get(family, {}).get(name, {})
            found[family][name] = row = {
                c: outcome(name, r)
                if columns is None or c in columns
                else _kept(name, r, before.get(c))
                for c, r in rules.items()
            }
            print(name, *(o.word for o in row.values()), file=sys.stderr, flush=True)
        for column, rule in FEEDBACK.items() if columns is None else ():
            wrong = flaw(name, rule)
            flaws += [f"{column} on {name}: {wrong}"] if wrong else []
        jax.clear_caches()  # thousands of programs that are not run again
    return found, flaws


def _kept(name: str, rule: Rule, shown: Outcome | None) -> Outcome:
    """The entry that is shown, unless the rule refuses now and did not, or not now."""
    refused = refusal(name, rule)
    if refused:
        return refused
    ran = shown is not None and (shown.word in ("exact", "works") or _ended(shown))
    return shown if shown is not None and ran else outcome(name, rule)


def _ended(shown: Outcome) -> bool:
    """Whether it ran with a result that is not finite."""
    return shown == Outcome("undefined", NOT_FINITE)


def made(found: Tables) -> str:
    """The generated section of the page."""
    parts = [f"### {family}\n\n{table(family, rows)}" for family, rows in found.items()]
    return "\n\n".join(parts)


def table(family: str, found: Rows) -> str:
    """A legend, a row for each model, and the messages by their numbers."""
    cells = [cell for row in found.values() for cell in row.values()]
    messages = dict.fromkeys(cell.message for cell in cells if cell.message)
    numbers = {message: i for i, message in enumerate(messages, start=1)}
    letters = dict(zip(FAMILIES[family], string.ascii_uppercase, strict=False))
    legend = [f"- **{letter}** `{column}`" for column, letter in letters.items()]
    head = ["| model |" + "".join(f" {letter} |" for letter in letters.values())]
    head += ["|---|" + "---|" * len(letters)]
    body = [
        f"| {name} |" + "".join(f" {_cell(o, numbers)} |" for o in row.values())
        for name, row in found.items()
    ]
    listed = [f"{i}. {message}" for message, i in numbers.items()]
    return "\n".join([*legend, "", *head, *body, "", *listed]).strip()


def _cell(found: Outcome, numbers: dict[str, int]) -> str:
    return found.word + (f" [{numbers[found.message]}]" if found.message else "")


def read(page: str) -> Tables:
    """The outcomes that a page shows."""
    parts = re.split(r"^### (.*)$", made_part(page), flags=re.MULTILINE)[1:]
    return {
        family: _rows(part, FAMILIES[family])
        for family, part in zip(parts[::2], parts[1::2], strict=True)
    }


def _rows(part: str, rules: dict[str, Rule]) -> Rows:
    messages = dict(re.findall(r"^(\d+)\. (.*)$", part, re.MULTILINE))
    lines = re.findall(r"^\| (\w+) \| (.*) \|$", part, re.MULTILINE)

    def cell(text: str) -> Outcome:
        word, _, number = text.partition(" ")
        return Outcome(word, messages[number.strip("[]")] if number else "")

    return {
        name: dict(zip(rules, map(cell, cells.split(" | ")), strict=True))
        for name, cells in lines
        if name != "model"
    }


def made_part(page: str) -> str:
    """The generated section of a page."""
    return page.split(START)[1].split(END)[0].strip()


def with_tables(page: str, found: Tables) -> str:
    """The page with other tables."""
    return replaced(page, START, made(found), END)


def main() -> int:
    """Write the tables or check them; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="compare, and write nothing"
    )
    parser.add_argument("--columns", action="append", help="run only this rule")
    given = parser.parse_args()
    check, old = given.check, PAGE.read_text("utf-8")
    found, flaws = tables(given.columns, read(old))
    print(*flaws, sep="\n", file=sys.stderr)
    new = with_tables(old, found)
    if not check:
        PAGE.write_text(new, "utf-8")
    return int(bool(flaws) or (check and new != old))


if __name__ == "__main__":
    sys.exit(main())

"""Write the table of requirements and costs of each rule in docs/choose-a-rule.md.

    python tools/rule_requirements.py

Rules declare their requirements; one that was measured (tools/locality_table.py) has a
full mark. Work and sequential depth are counted, not timed, on a network with three
hidden layers, so that every machine gives the same numbers; those of rules through time
on leaky recurrent units.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from generated_section import replaced
from locality_networks import rule_of

import apical
from apical import rules
from apical.measure import needs_table
from apical.testing._check import NEEDS

PAGE = Path(__file__).parents[1] / "docs" / "choose-a-rule.md"
BEGIN, END = (
    "<!-- made by tools/rule_requirements.py -->",
    "<!-- end of what it makes -->",
)
WIDTHS, EXAMPLES = (32, 64, 64, 64, 10), 32
# Rules of sequences.
IN_TIME = (rules.STDP, rules.ThreeFactor, rules.WindowedSyntheticGradients)
SPIKING = (rules.Concrete, rules.ScoreFunction, rules.StraightThrough)
# Settings of rules that have rows of their own.
VARIANTS: dict[str, rules.Rule] = {
    "PredictiveCoding(inference=Sweep())": rules.PredictiveCoding(
        inference=rules.Sweep()
    ),
    'PredictiveCoding(prediction="free")': rules.PredictiveCoding(prediction="free"),
}


def rules_and_variants() -> dict[str, rules.Rule]:
    """Each public rule at its defaults, and the variants, in the order of the names."""
    found = {
        f"{name}()": kind() for name, kind in vars(rules).items() if _is_rule(kind)
    }
    first = "Backpropagation()"
    return {first: found.pop(first)} | dict(sorted((found | VARIANTS).items()))


def _is_rule(kind: Any) -> bool:
    return (
        isinstance(kind, type) and issubclass(kind, rules.Rule) and kind != rules.Rule
    )


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a tanh network."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer)
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1))


def spiking_loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The same with stochastic nodes, for rules that are about these."""
    for layer in params[:-1]:
        x = apical.bernoulli(jax.nn.sigmoid(x @ layer))
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1))


STEPS, UNITS = 16, 16


def recurrent_loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of leaky recurrent units at each step."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = 0.9 * h + x @ params[0] + jnp.tanh(h) @ params[1]
        return h, jnp.tanh(h) @ params[2]

    start = jnp.zeros((x.shape[1], len(params[1])))
    _, out = jax.lax.scan(step, start, x)
    return jnp.mean(jnp.sum((out - y) ** 2, axis=-1))


def ratios_through_time(rule: rules.Rule) -> tuple[float | None, float | None]:
    """Those of a rule through time, over backpropagation through time."""
    shapes = (8, UNITS), (UNITS, UNITS), (UNITS, 4)
    keys = jax.random.split(jax.random.key(0), 4)
    pairs = zip(keys, shapes, strict=False)
    params = [jax.random.normal(key, shape) / 4 for key, shape in pairs]
    x, y = jnp.ones((STEPS, 4, 8)), jnp.ones((STEPS, 4, 4))
    learner = apical.value_and_grad(recurrent_loss_fn, rule, batch_axes=1)
    state = learner.init(keys[-1], params, x, y)
    found = apical.measure.cost(learner, repeats=1)(params, state, x, y)
    return found.ratio.flops, found.ratio.depth


def _shifted(key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next input, for rules that compare an example with it."""
    del key
    return jnp.roll(x, 1, axis=-1), y


def ratios(rule: rules.Rule) -> tuple[float | None, float | None]:
    """Work and sequential depth of a rule, over those of backpropagation."""
    if isinstance(rule, IN_TIME):
        return None, None  # its costs depend on the number of steps
    if rule.through_time:
        return ratios_through_time(rule)
    if isinstance(rule, rules.CLAPP):
        rule = replace(rule, positive=_shifted)
    # The output of a network that reconstructs is as wide as its input.
    around = isinstance(rule, rules.Recirculation)
    widths = (*WIDTHS[:-1], WIDTHS[0]) if around else WIDTHS
    keys = jax.random.split(jax.random.key(0), len(widths))
    pairs = zip(keys, pairwise(widths), strict=False)
    params = [jax.random.normal(key, shape) for key, shape in pairs]
    x = jnp.ones((EXAMPLES, widths[0]))
    y = jax.nn.one_hot(jnp.arange(EXAMPLES) % widths[-1], widths[-1])
    loss = spiking_loss_fn if isinstance(rule, SPIKING) else loss_fn
    learner = apical.value_and_grad(loss, rule, target=lambda x, y: y, input_argnums=0)
    state = learner.init(keys[-1], params, x, y)
    found = apical.measure.cost(learner, repeats=1)(params, state, x, y)
    return found.ratio.flops, found.ratio.depth


def table() -> str:
    """A row for each rule: requirements by number, work and depth."""
    legend = [f"{i}. {need}" for i, need in enumerate(NEEDS, 1)]
    numbers = " | ".join(str(i) for i in range(1, len(NEEDS) + 1))
    head = f"| rule | {numbers} | work | depth |"
    line = "|---|" + ":-:|" * len(NEEDS) + "--:|--:|"
    rows = [row(name, rule) for name, rule in rules_and_variants().items()]
    return "\n".join([*legend, "", head, line, *rows])


def row(name: str, rule: rules.Rule) -> str:
    """The row of one rule."""
    unknown = set(rule.needs) - set(NEEDS)
    if unknown:
        raise ValueError(f"{name} needs {unknown}, which are not among {NEEDS}")
    seen = measured(rule)
    marks = [
        "●" if need in seen else "○" if need in rule.needs else "" for need in NEEDS
    ]
    costs = ["?" if ratio is None else f"{ratio:.1f}" for ratio in ratios(rule)]
    return "| " + " | ".join([f"`{name}`", *marks, *costs]) + " |"


@cache
def named() -> tuple[tuple[rules.Rule, str], ...]:
    """Each rule of the table of measured needs, with its name."""
    return tuple((rule_of(name), name) for name in needs_table())


def measured(rule: rules.Rule) -> set[str]:
    """The needs of a rule that were measured.

    Some named rules have other numbers than the defaults, or functions that they
    require: their needs are those of their kind.
    """
    same = [name for each, name in named() if each == rule]
    kind = [name for each, name in named() if type(each) is type(rule)]
    found = needs_table()[(same or kind)[0]].needs
    return {need for need in rule.needs if found[need] == "yes"}


def with_table(page: str, made: str) -> str:
    """The page with this table in its generated section."""
    return replaced(page, BEGIN, made, END)


def main() -> None:
    """Write the table."""
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), table()), "utf-8")


if __name__ == "__main__":
    main()

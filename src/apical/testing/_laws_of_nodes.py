"""The laws about what a rule says of nodes, and about what else it may bring."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..rules import Rule
from ..rules._rule import Signal
from ._case import (
    CLOSE,
    SEEDS,
    Case,
    arrays_of,
    jit_arrays,
    require_close,
    require_finite,
    require_same_structure,
)


def signals(case: Case) -> None:
    """There is a finite `Signal` for each node, of the node's shape."""
    nodes = {n.name: n.shape for n in case.circuit.nodes}
    found = _signals(case)
    if set(found) != set(nodes):
        odd = sorted(set(found) ^ set(nodes))
        raise AssertionError(
            f"missing or unknown: {odd}; the nodes are {sorted(nodes)}"
        )
    for name, shape in nodes.items():
        for field, part in zip(Signal._fields, found[name], strict=True):
            if part.shape != shape:
                raise AssertionError(
                    f"the {field} at {name!r} has shape {part.shape}, the node {shape}"
                )
    require_finite(found, "the signals")


def _signals(case: Case) -> dict[str, Signal]:
    def read(params: Any, state: Any, args: Any) -> dict[str, Signal]:
        return case.rule.signals(case.circuit, params, case.rule_state(state), args)

    return jit_arrays(read)(case.params, case.state, case.args)


def pull(case: Case) -> None:
    """The gradients are the teaching signals, pulled back through each prediction.

    The nodes are held at their values or, by rules whose predictions are fixed, at
    the predictions.
    """
    found = _signals(case)
    delta = {n: s.teaching for n, s in found.items()}

    def product(params: Any, held: Any, args: Any) -> Any:
        return case.circuit.pull(params, args, held, delta, loss=1.0)

    local, problems = jit_arrays(product), []
    for i, where in enumerate(("values", "predictions")):
        held = {n: s[i] for n, s in found.items()}
        what = f"`circuit.pull` with nodes at their {where}, against `credit.grads`"
        try:
            pulled = local(case.params, held, case.args)
            require_close(pulled, case.eager.credit.grads, what, 10 * CLOSE)
            return
        except AssertionError as problem:
            problems.append(str(problem))
    raise AssertionError("; ".join(problems))


def predict(case: Case) -> None:
    """`predict` gives a finite output of the trained network, also under `jit`."""

    def predict(params: Any, state: Any, args: Any) -> Any:
        return case.learner.predict(params, case.rule_state(state), *args)

    given = (case.params, case.state, case.args)
    output = predict(*given)
    require_finite(output, "the output")
    require_close(jit_arrays(predict)(*given), output, "under `jax.jit`", CLOSE)


def train_step(case: Case) -> None:
    """A rule's own training step keeps structure, shapes and dtypes, and moves."""
    if not case.rule.coupled and type(case.rule).train is Rule.train:
        return
    state = case.step.init(jax.random.key(SEEDS[0]), case.params, *case.args)
    moved, state_after, _ = case.step(case.params, state, *case.args)
    before, after = arrays_of(case.params), arrays_of(moved)
    require_same_structure(after, before, "`params`, moved")
    require_same_structure(state_after, state, "the state after a step")
    require_finite(after, "`params`, moved")
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    if all(np.array_equal(a, b) for a, b in pairs):
        raise AssertionError("no parameter moved")

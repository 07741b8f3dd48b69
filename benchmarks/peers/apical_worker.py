"""apical: `apical.train_step` on an ordinary loss function."""

from typing import Any

import jax
import optax
from _problem import Problem, loss_fn
from _worker import Built, serve

import apical
from apical import rules


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """A train step by the rule that was asked for."""
    params, (x, y) = problem.params, problem.args
    rule = _rule(told)
    train = apical.train_step(loss_fn, rule, optax.adam(1e-3))
    state = train.init(jax.random.key(0), params, x, y)
    step = jax.jit(_lean(train))
    at = {"params": params, "state": state}

    def call() -> Any:
        at["params"], at["state"], _ = step(at["params"], at["state"], x, y)
        return at["params"]

    def values() -> Any:
        found = jax.jit(apical.value_and_grad(loss_fn, rule).signals)(params, (), x, y)
        nodes = apical.trace(loss_fn)(params, x, y).nodes
        return [found[node.name].value for node in nodes]

    def grads() -> Any:
        learner = jax.jit(apical.value_and_grad(loss_fn, rule))
        return jax.tree.leaves(learner(params, (), x, y).grads)

    if told["way"] == "backprop":
        return Built(call)
    return Built(call, values, grads)


def _lean(train: Any) -> Any:
    """A step that returns what the next one needs, and the loss."""

    def step(params: Any, state: Any, *args: Any) -> Any:
        params, state, credit = train(params, state, *args)
        return params, state, credit.value

    return step


def _rule(told: dict[str, Any]) -> Any:
    if told["way"] == "backprop":
        return rules.Backpropagation()
    way = rules.ErrorRelaxation() if told["way"] == "errors" else None
    return rules.PredictiveCoding(told["steps"], told["rate"], "free", inference=way)


if __name__ == "__main__":
    serve(build)

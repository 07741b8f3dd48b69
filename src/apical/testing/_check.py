"""`check_rule`: every law of rules, on every problem."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection
from typing import Any, overload

import jax
import numpy as np
import optax

from ..rules import Rule
from ..rules._learner import Learner, Nodes
from ..rules.tools import NEEDS
from ._case import SEEDS, Case
from ._laws import LAWS_ON_A_PROBLEM
from ._problem import Problem, built_in
from ._through_time import through_time

# ---- The law about a rule's class attributes.


def declares(rule: Rule) -> None:
    """Citations, needs, the descended loss and the search space are valid."""
    for text in re.split(r"\n(?=@)", rule.citation):
        entry = re.fullmatch(r"@\w+\{\s*[^\s,{}]+\s*,(.*)\}\s*", text, re.DOTALL)
        fields = set(re.findall(r"(\w+)\s*=\s*[\"{]", entry[1])) if entry else set()
        if "title" not in fields:
            problem = "has no title" if entry else "is not one BibTeX entry"
            raise AssertionError(f"`citation` {problem}: {text[:60]!r}")
    unknown = set(rule.needs) - set(NEEDS)
    if unknown:
        raise AssertionError(f"`needs` has {sorted(unknown)}; the words are {NEEDS}")
    known = rule.descends in ("loss", "squared-error")
    if not known and type(rule).descended is Rule.descended:
        raise AssertionError(
            f"`descends` is {rule.descends!r}: a loss of your own needs `descended`, "
            "which returns it"
        )
    _is_a_pytree(rule)
    for name, bounds in rule.search_space.items():
        _is_a_range(rule, name, bounds)


def _is_a_pytree(rule: Rule) -> None:
    leaves, treedef = jax.tree.flatten(rule)
    if len(leaves) == 1 and leaves[0] is rule:
        raise AssertionError("the class is not a pytree: decorate it with `@rule`")
    rebuilt = jax.tree.unflatten(treedef, leaves)
    try:
        same = bool(rebuilt == rule)
    except ValueError:  # a field is an array
        same = all(map(np.array_equal, jax.tree.leaves(rebuilt), leaves))
    if not same:
        raise AssertionError("flattened and rebuilt, the rule is not equal to itself")


def _is_a_range(rule: Rule, name: str, bounds: Any) -> None:
    numbers = {
        f.name
        for f in dataclasses.fields(rule)  # type: ignore[arg-type]
        if not f.metadata.get("static")
    }
    if name not in numbers:
        raise AssertionError(
            f"`search_space` names {name!r}; the rule's numbers are {sorted(numbers)}"
        )
    try:
        low, high, scale = bounds
        sound = low < high and (scale == "linear" or (scale == "log" and low > 0))
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise AssertionError(
            f"`search_space[{name!r}]` is {bounds!r}, not (low, high, 'log' or "
            "'linear') with low < high (and above 0 for 'log')"
        )
    for end in bounds[:2]:
        _accepts(rule, name, end)


def _accepts(rule: Rule, name: str, number: float) -> None:
    try:
        dataclasses.replace(rule, **{name: number})  # type: ignore[type-var]
    except ValueError as error:
        raise AssertionError(
            f"`search_space` offers {name}={number}, which the rule refuses: {error}"
        ) from error


# The laws on a problem, in the order in which they are checked; and all by name.
_ON_A_PROBLEM = (*LAWS_ON_A_PROBLEM, through_time)
LAWS: dict[str, str] = {
    law.__name__: (law.__doc__ or "").split("\n")[0]
    for law in (declares, *_ON_A_PROBLEM)
}


@overload
def check_rule(
    rule: Rule,
    /,
    *,
    nodes: Nodes | None = None,
    optimizer: optax.GradientTransformation | None = None,
    skip: Collection[str] = (),
) -> None: ...
@overload
def check_rule(
    learner: Learner,
    params: Any,
    /,
    *args: Any,
    optimizer: optax.GradientTransformation | None = None,
    skip: Collection[str] = (),
) -> None: ...
def check_rule(
    rule: Any,
    /,
    *params_and_args: Any,
    nodes: Nodes | None = None,
    optimizer: optax.GradientTransformation | None = None,
    skip: Collection[str] = (),
) -> None:
    """Check that a rule satisfies the laws of rules, in a few seconds.

    | law          | statement                                                      |
    |--------------|----------------------------------------------------------------|
    | `declares`   | BibTeX citation, needs in the known words, sound search space   |
    | `untouched`  | a call does not change the caller's parameters                  |
    | `value`      | value and aux are those of the undisturbed forward computation  |
    | `grads`      | structure, shapes, dtypes of `params`; finite; not all zero     |
    | `pure`       | the same inputs give the same outputs                           |
    | `state`      | arrays; calls keep their shapes; can be saved and restored      |
    | `jit`        | `jax.jit` changes nothing                                       |
    | `vmap`       | `jax.vmap` over seeds equals a loop over seeds                  |
    | `batch`      | a batch repeated gives the update of the batch                  |
    | `numbers`    | the rule's numbers may be traced, and differentiated            |
    | `signals`    | a finite `Signal` for each node, of its shape                   |
    | `pull`       | `circuit.pull` of the teaching signals gives the gradients      |
    | `predict`    | the trained network's output is finite, also under `jax.jit`    |
    | `train_step` | a rule's own training step keeps structure, shapes, dtypes      |
    | `through_time` | calls joined by the state add up to one call, whatever `chunk`; |
    |              | without the past they do not; backpropagation through time      |
    |              | differs, unless `passes` is `"everything"`                      |

    A rule may reject a problem by a `ValueError` in `init`, but not all of them.

    Call it with a rule, `check_rule(rule)`, to test it on a small perceptron, scanned
    recurrent network and residual network, and if it is a rule through time on a
    sequence that `carry=` continues; or with a learner and its arguments,
    `check_rule(learner, params, *args)`, to test it on these (without the law
    `through_time`, which needs to know how a sequence is cut).

    Args:
      rule: the rule, with the numbers to test; or a learner, made by
        `apical.value_and_grad(loss_fn, rule, ...)`.
      *params_and_args: with a learner, the parameters and arguments of its loss
        function; none with a rule.
      nodes: with a rule, the nodes that it works on, as in `apical.value_and_grad`; a
        learner has this in its description.
      optimizer: the optimiser for coupled rules; plain gradient descent by default.
      skip: the names of laws to leave out: `("value",)` if the loss is that of an
        equilibrium, `("signals", "pull")` if there are no teaching signals,
        `("batch",)` if it draws noise for each example, `("through_time",)` if it draws
        noise in each call.

    Raises:
      AssertionError: with the law, the problem, and the size of the violation.
      TypeError: for a first argument that is neither a rule nor a learner, a rule with
        arguments, or a learner without.
      ValueError: for a law that does not exist.

    Example:
      >>> import jax.numpy as jnp, apical, apical.testing
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.PredictiveCoding(3))
      >>> apical.testing.check_rule(learner, w, x)
      >>> class Louder(apical.rules.PredictiveCoding):
      ...     def credit(self, circuit, params, state, args):
      ...         credit = super().credit(circuit, params, state, args)
      ...         return credit._replace(value=2 * credit.value)
      >>> Louder = apical.rules.rule(Louder)
      >>> apical.testing.check_rule(learner.with_rule(Louder()), w, x)
      Traceback (most recent call last):
      AssertionError: Louder breaks the law 'value' on the given problem: ...
    """
    _check_skip(skip)
    if isinstance(rule, Learner):
        problems = (_given(rule, params_and_args, nodes),)
        rule = rule.rule
    else:
        _check_rule(rule, params_and_args)
        problems = None
    if "declares" not in skip:
        _hold(rule, "declares", "", lambda: declares(rule))
    # Made after `declares`, which explains better why a class is not a pytree.
    problems = built_in(rule, nodes) if problems is None else problems
    _check_problems(rule, problems, optimizer or optax.sgd(0.1), skip)


def _given(learner: Learner, params_and_args: tuple[Any, ...], nodes: Any) -> Problem:
    if len(params_and_args) < 2:
        raise TypeError(
            "A learner is checked on parameters and arguments of its loss function: "
            "`check_rule(learner, params, *args)`."
        )
    if nodes is not None:
        raise TypeError(
            "A learner has a description already: `nodes` belongs in "
            "`apical.value_and_grad(loss_fn, rule, nodes=...)`."
        )
    return Problem("given", learner, params_and_args[0], params_and_args[1:])


def _check_rule(rule: Any, params_and_args: tuple[Any, ...]) -> None:
    if not isinstance(rule, Rule):
        hint = f": call it, `{rule.__name__}()`" if isinstance(rule, type) else ""
        raise TypeError(f"`rule` must be a rule or a learner, not {rule!r}{hint}.")
    if params_and_args:
        raise TypeError(
            "To check a rule on your own loss function, describe that once: "
            "`learner = apical.value_and_grad(loss_fn, rule, ...)`, then "
            "`check_rule(learner, params, *args)`."
        )


def _check_skip(skip: Collection[str]) -> None:
    if isinstance(skip, str):
        raise ValueError(f"`skip` must be a tuple of names: `skip=({skip!r},)`.")
    unknown = sorted(set(skip) - set(LAWS))
    if unknown:
        raise ValueError(f"`skip` names {unknown}; the laws are {sorted(LAWS)}.")


def _check_problems(
    rule: Rule,
    problems: Collection[Problem],
    optimizer: optax.GradientTransformation,
    skip: Collection[str],
) -> None:
    refusals = {}
    for problem in problems:
        case = Case(problem, optimizer)
        try:
            case.state = case.init(jax.random.key(SEEDS[0]), problem.params)
        except ValueError as refusal:
            refusals[problem.name] = str(refusal)
            continue
        for law in _ON_A_PROBLEM:
            if law.__name__ not in skip:
                where = f" on the {problem.name} problem"
                _hold(rule, law.__name__, where, lambda law=law, case=case: law(case))
    if len(refusals) == len(problems):
        raise AssertionError(f"{_name(rule)} refuses every problem: {refusals}")


def _hold(rule: Rule, name: str, where: str, law: Callable[[], None]) -> None:
    """Apply a law; an error names the law and the problem."""
    broken = f"{_name(rule)} breaks the law {name!r}{where}: "
    try:
        law()
    except AssertionError as error:
        raise AssertionError(broken + str(error)) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip()}"
        raise AssertionError(broken + f"it raised {reason}") from error


def _name(rule: Rule) -> str:
    return type(rule).__name__

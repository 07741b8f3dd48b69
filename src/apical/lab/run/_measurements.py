"""What one call of a rule costs, alone on one seed, as a line of the ledger."""

from dataclasses import replace

import jax

import apical
from apical.lab._registry import BASELINE, RULES
from apical.lab._rule_spec import Entry
from apical.lab.run._records import Line, plain
from apical.lab.training._setup import Lanes, Start, batch_order, parts
from apical.lab.training._train import Run
from apical.lab.training._tuning import Choice

# ---- The time of a step of backpropagation, at the very moment it is asked for.


class Stopwatch:
    """Times training steps of backpropagation on the work that rules are given."""

    def __init__(self, start: Start, seeds: tuple[int, ...]):
        work = start.work
        self._run = Run(
            start, RULES[BASELINE], Lanes.alike(seeds, work.learning_rate, {})
        )
        self._learned = self._run.begin().learned
        self._part = next(parts(batch_order(work, seeds, 0), work.model.steps_per_call))
        self()  # compiles

    def __call__(self) -> float:
        """The time of one step of all seeds together, just now."""
        return self._run.advance(self._learned, self._part)[2]


_ROUNDS = 5
_QUANTITIES = ("seconds", "compile_seconds", "flops", "memory_bytes", "depth")
_SIDES = {"": "rule", "_of_backpropagation": "backpropagation", "_ratio": "ratio"}


def cost_line(start: Start, entry: Entry, chosen: Choice) -> Line:
    """Time, FLOPs, memory and sequential depth, with their ratios to backprop's."""
    seed = 0
    loss, rule = start.loss, replace(entry.make(), **chosen.numbers)
    params, statistics = (
        jax.tree.map(lambda leaf: leaf[0], tree) for tree in start.weights((seed,))
    )
    args = statistics, *start.batch
    optimizer = start.work.optimizer(chosen.learning_rate)
    step = apical.train_step(loss.training, rule, optimizer, **loss.setting)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    try:
        state = step.init(key, params, *args)
    except ValueError:  # the rule refuses the model; its training says why
        return dict.fromkeys(name + side for name in _QUANTITIES for side in _SIDES)
    measure = apical.measure.cost(step.learner, repeats=_ROUNDS)
    found = measure(params, state.rule, *args)
    return {
        name + side: plain(getattr(getattr(found, part), name))
        for name in _QUANTITIES
        for side, part in _SIDES.items()
    }

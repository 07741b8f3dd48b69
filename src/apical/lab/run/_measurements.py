"""Cost of a training step: its time beside backpropagation, FLOPs, memory, depth."""

from dataclasses import replace

import jax

import apical
from apical.lab._registry import BASELINE, RULES
from apical.lab._rule_spec import RuleSpec
from apical.lab.run._records import Line, plain
from apical.lab.training._setup import TrainSetup, VmappedRuns, batch_order, parts
from apical.lab.training._train import Trainer
from apical.lab.training._tuning import Choice

# ---- The time of a step of backpropagation


class BaselineTimer:
    """Times training steps of backpropagation on the data and model of the rules."""

    def __init__(self, setup: TrainSetup, seeds: tuple[int, ...]):
        config = setup.config
        self._run = Trainer(
            setup,
            RULES[BASELINE],
            VmappedRuns.with_seeds(seeds, config.learning_rate, {}),
        )
        self._learned = self._run.fitted(self._run.begin()).learned
        self._part = next(
            parts(batch_order(config, seeds, 0), config.model.steps_per_call)
        )
        self()  # compiles

    def __call__(self) -> float:
        """Seconds of one training step, all seeds together, measured now."""
        return self._run.advance(self._learned, self._part)[2]


# ---- All costs of a rule, on one seed

_ROUNDS = 5
_QUANTITIES = ("seconds", "compile_seconds", "flops", "memory_bytes", "depth")
_SIDES = {"": "rule", "_of_backpropagation": "backpropagation", "_ratio": "ratio"}


def cost_line(setup: TrainSetup, spec: RuleSpec, chosen: Choice) -> Line:
    """Time, FLOPs, memory and sequential depth, and their ratios to backpropagation."""
    seed = 0
    loss, rule = setup.loss, replace(spec.make(), **chosen.numbers)
    params, statistics = (
        jax.tree.map(lambda leaf: leaf[0], tree) for tree in setup.weights((seed,))
    )
    args = statistics, *setup.batch
    optimizer = setup.config.optimizer(chosen.learning_rate)
    step = apical.train_step(loss.training, rule, optimizer, **loss.setting)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    try:
        state = step.init(key, params, *args)
    except ValueError:  # the rule refuses the model; the training records why
        return dict.fromkeys(name + side for name in _QUANTITIES for side in _SIDES)
    measure = apical.measure.cost(step.learner, repeats=_ROUNDS)
    found = measure(params, state.rule, *args)
    return {
        name + side: plain(getattr(getattr(found, part), name))
        for name in _QUANTITIES
        for side, part in _SIDES.items()
    }

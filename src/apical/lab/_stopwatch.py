"""The time of a step of backpropagation, at the very moment it is asked for."""

from apical.lab._registry import BASELINE, RULES
from apical.lab._start import Start, batch_order, parts
from apical.lab._train import Run
from apical.lab._work import Lanes


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

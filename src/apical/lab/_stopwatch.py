"""The time of a step of backpropagation, at the very moment it is asked for."""

from apical.lab._registry import BASELINE, RULES
from apical.lab._start import Start, parts
from apical.lab._train import Run


class Stopwatch:
    """Times training steps of backpropagation on the work that rules are given."""

    def __init__(self, start: Start):
        self._run = Run(start, RULES[BASELINE])
        self._learned = self._run.begin()
        self._part = next(parts(start.setting, 0))
        self()  # compiles

    def __call__(self) -> float:
        """The time of one step of all seeds together, just now."""
        return self._run.advance(self._learned, self._part)[2]

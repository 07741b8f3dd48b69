"""Which rule's teaching signals explain a recording best, beyond the activity itself.

In each fold, ridge regressions on the other folds predict from the activity (`given`)
both the recording Y and the signals S. What is left of Y is predicted from what is left
of S:

    explained = 1 - |Y' - f(S')|^2 / |Y'|^2,     Y', S': held-out residuals

Teaching signals are functions of the activity, so that without this step any signal
would explain a recording of activity. With repeats of the same examples, the noise of
their mean is known, and with it how much any model could explain:

    ceiling = 1 - |noise|^2 / |Y'|^2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ._ridge import ridge
from ._rows import example_rows


class RuleFit(NamedTuple):
    """How well the signals of one rule explain a recording.

    Attributes:
      explained: the fraction of the variance that activity leaves, which the signals
        predict in held-out examples; below 0 where they mislead.
      of_ceiling: the same over the ceiling; NaN without repeats.
      p: of a permutation test of `explained`: the fraction of permutations of examples
        in which the same predictions explain as much.
      behind: how much less they explain than those of the best rule.
      p_behind: of the difference, by random signs of the examples' differences; 1 for
        the best itself. Not corrected for the number of rules.
    """

    explained: float
    of_ceiling: float
    p: float
    behind: float
    p_behind: float


@dataclass(frozen=True)
class RecordingFit:
    """How well the signals of each rule explain a recording.

    Attributes:
      rules: a `RuleFit` for each rule, the best first.
      activity: the fraction of the recording's variance that `given` predicts in
        held-out examples; 0 without it.
      ceiling: the fraction of what is left that is no noise; NaN without repeats.
      examples: their number.
      neurons: their number.
    """

    rules: dict[str, RuleFit]
    activity: float
    ceiling: float
    examples: int
    neurons: int

    @property
    def best(self) -> str:
        """The rule whose signals explain the most."""
        return next(iter(self.rules))

    def to_records(self) -> list[dict[str, Any]]:
        """One record for each rule, for a table."""
        shared = {k: v for k, v in asdict(self).items() if k != "rules"}
        return [{"rule": n, **f._asdict(), **shared} for n, f in self.rules.items()]

    def __str__(self) -> str:
        """A table, the best rule first."""
        ceiling = "unknown (no repeats)" if self.ceiling != self.ceiling else None
        lines = [
            f"{self.examples} examples, {self.neurons} neurons",
            f"explained by the activity: {self.activity:.1%}",
            f"of the rest, no noise:     {ceiling or f'{self.ceiling:.1%}'}",
            f"{'signals of':<24}{'explain':>9}{'p':>9}{'behind':>9}{'p':>9}",
        ]
        for name, fit in self.rules.items():
            lines.append(
                f"{name:<24}{fit.explained:>9.2%}{fit.p:>9.2g}"
                f"{fit.behind:>9.2%}{fit.p_behind:>9.2g}"
            )
        return "\n".join(lines)


def recording_fit(
    signals: Mapping[str, Any],
    recording: Any,
    *,
    given: Any = None,
    folds: int = 5,
    permutations: int = 1000,
    seed: int = 0,
) -> RecordingFit:
    """Set the teaching signals of several rules beside a recording.

        explained = 1 - |Y' - f(S')|^2 / |Y'|^2

    with Y' and S' what a ridge regression on the activity leaves of recording and
    signals, and f a ridge regression, both fitted on other examples.

    Regressions are linear: rules whose signals are linear functions of each other (as
    those of backpropagation and feedback alignment in a linear network) explain alike.

    Args:
      signals: for each rule, by name, its teaching signals: an array `[examples, ...]`
        or a pytree of these, as `{n: s.teaching for n, s in
        learner.signals(...).items()}`.
      recording: `[examples, neurons]`, or `[repeats, examples, neurons]` for repeats of
        the same examples. Any units.
      given: what is known of each example without a teacher, as in `signals`: the
        values of the nodes. None: nothing, which lets signals explain what is activity.
      folds: the number of parts of the examples, each predicted from the others.
      permutations: of each test; p-values are at least 1 / (permutations + 1).
      seed: of the order of examples, permutations and signs.

    Returns:
      A `RecordingFit`: print it, or `.to_records()`.

    Raises:
      ValueError: for arrays with other numbers of examples, entries that are not
        finite, fewer than two examples in a fold, or a recording that does not vary.

    Example:
      >>> import numpy as np, apical
      >>> rng = np.random.default_rng(0)
      >>> true, other = rng.normal(size=(2, 100, 4))
      >>> recording = true @ rng.normal(size=(4, 6)) + rng.normal(size=(100, 6))
      >>> found = apical.measure.recording_fit({"a": other, "b": true}, recording)
      >>> found.best, found.rules["b"].explained > 0.6, found.rules["a"].p > 0.05
      ('b', True, True)
    """
    if not signals:
        raise ValueError("`signals` has no rules.")
    mean, noise = _mean_and_noise(recording)
    sent = {name: _table(x, f"signals[{name!r}]") for name, x in signals.items()}
    known = None if given is None else _table(given, "given")
    count = len(mean)
    for name, table in {**sent, "given": mean if known is None else known}.items():
        if len(table) != count:
            raise ValueError(
                f"{name!r} has {len(table)} examples, and `recording` {count}."
            )
    if not 2 <= folds <= count // 2:
        raise ValueError(
            f"`folds` must be from 2 to half of the {count} examples, not {folds!r}."
        )
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(count), folds)
    left, predicted = _held_out(mean, sent, known, parts)
    total, rest = float(np.sum(_centered(mean) ** 2)), float(np.sum(left**2))
    if total == 0:
        raise ValueError("`recording` is the same for all examples.")
    ceiling = np.nan if noise is None else 1 - noise / rest
    errors = {n: np.sum((left - f) ** 2, axis=1) for n, f in predicted.items()}
    order = sorted(errors, key=lambda name: errors[name].sum())
    best = errors[order[0]]
    found = {}
    for name in order:
        explained = 1 - float(errors[name].sum()) / rest
        found[name] = RuleFit(
            explained,
            explained / ceiling if ceiling > 0 else np.nan,
            _permuted_p(left, predicted[name], rng, permutations),
            float(errors[name].sum() - best.sum()) / rest,
            1.0
            if name == order[0]
            else _signs_p(errors[name] - best, rng, permutations),
        )
    activity = 0.0 if known is None else 1 - rest / total
    return RecordingFit(found, activity, float(ceiling), *mean.shape)


def _held_out(
    mean: np.ndarray,
    sent: dict[str, np.ndarray],
    known: np.ndarray | None,
    parts: list[np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What is left of the recording, and what the signals predict of it."""
    left = np.empty_like(mean)
    predicted = {name: np.empty_like(mean) for name in sent}
    for part in parts:
        rest = np.setdiff1d(np.arange(len(mean)), part)
        without = _without(known, rest, part)
        train, left[part] = without(mean)
        for name, table in sent.items():
            x, new = without(table)
            predicted[name][part] = ridge(x, train)(new)
    return left, predicted


def _without(known: np.ndarray | None, rest: np.ndarray, part: np.ndarray) -> Any:
    """A function of a table: what `known` leaves of it, in `rest` and in `part`."""

    def residuals(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if known is None:
            offset = table[rest].mean(axis=0)
            return table[rest] - offset, table[part] - offset
        predict = ridge(known[rest], table[rest])
        return table[rest] - predict(known[rest]), table[part] - predict(known[part])

    return residuals


def _mean_and_noise(recording: Any) -> tuple[np.ndarray, float | None]:
    """The mean over repeats, and the expected squared error of all its entries."""
    table = np.asarray(recording, float)
    if table.ndim not in (2, 3):
        raise ValueError(
            "`recording` must be `[examples, neurons]` or `[repeats, examples, "
            f"neurons]`, and has shape {table.shape}."
        )
    _require_finite(table, "recording")
    if table.ndim == 2:
        return table, None
    if len(table) < 2:
        return table[0], None
    return table.mean(axis=0), float(np.sum(table.var(axis=0, ddof=1)) / len(table))


def _table(x: Any, name: str) -> np.ndarray:
    table = np.asarray(example_rows(x, name=name), float)
    _require_finite(table, name)
    return table


def _require_finite(table: np.ndarray, name: str) -> None:
    wrong = np.argwhere(~np.isfinite(table))
    if len(wrong):
        raise ValueError(
            f"`{name}` has {len(wrong)} entries that are not finite, the first at "
            f"{wrong[0].tolist()}: leave these examples or neurons out."
        )


def _centered(table: np.ndarray) -> np.ndarray:
    return table - table.mean(axis=0)


# ---- Tests.


def _permuted_p(
    left: np.ndarray, predicted: np.ndarray, rng: np.random.Generator, number: int
) -> float:
    """Whether predictions fit their own example better than others."""
    # |left - predicted|^2 changes by the inner product alone.
    products = left @ predicted.T
    here = np.arange(len(left))
    found = products[here, here].sum()
    others = [products[here, rng.permutation(here)].sum() for _ in range(number)]
    return float((1 + np.sum(np.asarray(others) >= found)) / (1 + number))


def _signs_p(differences: np.ndarray, rng: np.random.Generator, number: int) -> float:
    """Of a mean difference between examples, two-sided, by random signs."""
    signs = rng.choice([-1.0, 1.0], (number, len(differences)))
    others = np.abs(signs @ differences)
    return float((1 + np.sum(others >= abs(differences.sum()))) / (1 + number))

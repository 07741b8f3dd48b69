"""Write docs/every-rule.md and the README's table from comparisons of all rules.

    apical compare --out demo
    apical compare --rules all --model mlp --sweep 16 --out all
    apical compare --rules R --model mlp --sweep 16 --epochs 40 --out longer
    apical compare --rules R --model mlp-tanh --sweep 16 --epochs 40 --out smooth
    python tools/every_rule.py demo all longer smooth

The figures are stored in `results/every-rule.json`, by model, number of epochs and
tuning. A later folder with some of the rules replaces the lines of these rules. Without
a folder the page and the README's table are written from the stored figures.
`tests/docs/test_site.py` compares them with the files.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from every_rule_tables import all_rules, default_rules, not_above_the_control, six_rules
from generated_section import replaced

from apical.lab import Comparison
from apical.lab._registry import RULES
from apical.lab.report._summary import Interval, Row

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "results" / "every-rule.json"
PAGE, README = ROOT / "docs" / "every-rule.md", ROOT / "README.md"
MARKS = "<!-- made by tools/every_rule.py demo -->", "<!-- end of the demo -->"
TEXT = """\
# All rules compared

`apical compare` trains rules on the same data, from the same weights, beside
backpropagation and a control. This page has the results on the 1,797 handwritten
digits (8 x 8) that come with scikit-learn: 5 seeds, 8 epochs, Adam. The figures are in
`results/every-rule.json`, from which `python tools/every_rule.py` writes this page.

## The columns

* **loss**: the loss that the rule descends. CE is the cross-entropy; SE is half the
  squared error, for rules that clamp the output to its target.
* **accuracy %**: on the test part, after the last epoch. ± is a 95 % interval over
  seeds and, where there were trials, over the draw of the trials. The test part has
  360 images: one image is 0.28 points.
* **− backprop**: the difference, paired by seed, to backpropagation of the same loss
  (`backpropagation` or `backprop-squared-error`). *equal*: the interval lies within
  one point on either side of 0. *above*, *below*: the interval does not contain 0.
  *open*: neither.
* **above the control**: the difference to the accuracy of `untrained-hidden-layers`,
  where its interval lies above 0. In the control only the readout learns; hidden
  layers keep their initial weights. The control descends the cross-entropy. On these
  data the squared error alone is worth about two points, so part of the difference
  between an SE row and the control is due to the loss.
* **alignment**: the cosine between the update and the gradient of the same loss, the
  mean of the hidden layers, before training → after the last epoch. The readout is
  not included: under most rules its gradient is exact, and it is the largest part of
  the whole ([Measure](measure.md)).
* **by layer**: the alignment of each hidden layer after the last epoch, from the
  input up.
* **time**, **FLOPs**: those of a training step, divided by backpropagation's. A step
  of `incremental-predictive-coding` moves the parameters eight times, the others
  once. The machine had other work while times were measured: the two
  rows of backpropagation, whose time should be 1, show the noise.
* **needs**: the [biological requirements](terms.md#biological-requirements) of the
  rule, by number.

Rules through time refuse these models, which have no loop: compare them on
sequences ([Learning online](online.md#compare)).

Intervals are not corrected for the number of rules. A tuned accuracy may be lower
than one that was not tuned, because one draw of trials decides which
hyper-parameters are chosen.

## Every rule, tuned

`apical compare --rules all --model mlp --sweep 16`: each rule at the best of its
16 trials, chosen on a held-out part of the training set.

{all_rules}

### Rules not shown to be above the control

Eight epochs are few: a rule in this table may be slow, hard to tune or worse, or the
draw of the trials leaves it open. Some were trained for longer (`--epochs 40`) and
with smooth units (`--model mlp-tanh`), again with 16 trials; bold: shown to be above
the control there.

{not_above_the_control}

## The default rules on two models, not tuned

`apical compare`: the same step size for all rules. The last two columns are from the
table above.

{default_rules}
"""


def figures(folder: str) -> dict[str, dict[str, Any]]:
    """The figures of a comparison that the tables show, by model and epochs."""
    found = Comparison.read(folder)
    tuning = "" if found.settings["sweep"] else ", not tuned"
    lines: dict[str, dict[str, Any]] = {}
    for row in found.rows:
        name = f"{row.model}, {found.settings['epochs']} epochs{tuning}"
        lines.setdefault(name, {})[row.rule] = _line(row, found)
    return lines


def _line(row: Row, found: Comparison) -> Any:
    return {
        "descends": row.descends,
        "accuracy": _points(row.accuracy),
        "minus backprop": _points(row.difference),
        "above the control": _points(row.above_control),
        "alignment": [
            _rounded(each.mean) for each in (row.alignment_start, row.alignment_end)
        ],
        "by layer": _by_layer(row, found),
        "time": _rounded(row.time_ratio),
        "FLOPs": _rounded(row.flops_ratio),
        "step size": row.learning_rate,
        "numbers": row.hyper_parameters,
        **({"earlier": True} if _has_no_trials(row, found) else {}),
    }


def _has_no_trials(row: Row, found: Comparison) -> bool:
    """Whether earlier hyper-parameters were run again without trials."""
    tried = {(line["model"], line["rule"]) for line in found.trials}
    return bool(found.settings["sweep"]) and (row.model, row.rule) not in tried


def _by_layer(row: Row, found: Comparison) -> list[float | None]:
    """The alignment of each hidden layer after the last epoch, from the input up."""
    lines = [
        line
        for line in found.layers
        if (line["model"], line["rule"]) == (row.model, row.rule) and line["hidden"]
    ]
    last = [line for line in lines if line["epoch"] == line["epochs"]]
    layers: dict[str, list[float]] = {}
    for line in sorted(last, key=lambda line: line["place"]):
        known = layers.setdefault(line["layer"], [])
        known += [] if line["layer_alignment"] is None else [line["layer_alignment"]]
    return [_rounded(np.mean(each)) if each else None for each in layers.values()]


def _points(value: Interval) -> list[float | None]:
    return [_rounded(100 * part) for part in value]


def _rounded(value: Any) -> float | None:
    return None if math.isnan(value) else round(float(value), 3)


def page() -> str:
    """The whole page, from the stored figures."""
    every = json.loads(KEPT.read_text("utf-8"))
    return TEXT.format(
        all_rules=all_rules(every),
        not_above_the_control=not_above_the_control(every),
        default_rules=default_rules(every),
    )


def readme() -> str:
    """The README with its table of six rules."""
    every = json.loads(KEPT.read_text("utf-8"))
    begin, end = MARKS
    return replaced(README.read_text("utf-8"), begin, six_rules(every), end)


def main() -> None:
    """Store the figures of the given folders, and write the page and the README."""
    every = json.loads(KEPT.read_text("utf-8"))
    for folder in sys.argv[1:]:
        for name, found in figures(folder).items():
            lines = every.get(name, {}) | found
            every[name] = {rule: lines[rule] for rule in RULES if rule in lines}
    KEPT.write_text(json.dumps(every, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(), "utf-8")
    README.write_text(readme(), "utf-8")


if __name__ == "__main__":
    main()

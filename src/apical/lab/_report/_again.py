"""How to run a comparison again, and whom to cite."""

import re
import shlex
from typing import NamedTuple

from apical.lab._data import DATASETS
from apical.lab._registry import RULES
from apical.lab._summary import Records
from apical.lab.models import MODELS


class Again(NamedTuple):
    """A command line, and what it cannot say."""

    command: str
    gaps: list[str]


def again(records: Records) -> Again:
    """The command that runs the same comparison."""
    first = records[0]
    models, rules = (list(dict.fromkeys(r[name] for r in records)) for name in _NAMED)
    words = ["apical", "compare", "--data", first["data"]]
    for model in models:
        words += ["--model", model]
    words += ["--rules", ",".join(rules)]
    for name in ("epochs", "seeds", "batch_size", "optimizer"):
        words += [f"--{name.replace('_', '-')}", str(first[name])]
    if first["sweep"]:
        words += ["--sweep", str(first["sweep"])]
    else:
        words += ["--learning-rate", repr(first["learning_rate"])]
    return Again(shlex.join(words), _gaps(first["data"], models, rules))


def sources(rules: list[str]) -> tuple[list[str], list[str]]:
    """The BibTeX of these rules, each entry once, and the rules that have none here."""
    texts = {name: RULES[name].citation for name in rules if name in RULES}
    entries = dict.fromkeys(_laid_out(text) for text in texts.values() if text)
    return list(entries), [name for name in rules if not texts.get(name)]


_NAMED = ("model", "rule")


def _gaps(data: str, models: list[str], rules: list[str]) -> list[str]:
    kinds = (
        ("data set", [data], DATASETS),
        ("model", models, MODELS),
        ("rule", rules, RULES),
    )
    return [
        f"{kind} {name}"
        for kind, names, ours in kinds
        for name in names
        if name not in ours and (":" not in name or kind == "data set")
    ]


def _laid_out(bibtex: str) -> str:
    """A field to a line."""
    text = re.sub(r",\s*(?=\w+\s*=\s*\{)", ",\n  ", bibtex.strip())
    return re.sub(r"\}\}$", "}\n}", text)

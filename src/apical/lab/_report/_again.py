"""How to run a comparison again, and whom to cite."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from apical.lab._journal import Line
from apical.lab._registry import find_entry
from apical.lab._summary import Row


class Again(NamedTuple):
    """A command line, and which arguments it cannot say: they were objects."""

    command: str
    objects: list[str]


def again(settings: Line) -> Again:
    """The command that runs the same comparison; of paths it tells the names alone."""
    words = ["apical", "compare", "--data", Path(settings["data"]).name]
    if settings["data_dir"]:
        words += ["--data-dir", "DIR"]
    for model in settings["models"]:
        words += ["--model", model]
    words += ["--rules", ",".join(settings["rules"])]
    for name in ("epochs", "seeds", "batch_size", "optimizer", "loss"):
        words += [f"--{name.replace('_', '-')}", str(settings[name])]
    for name in ("learning_rate", "sweep"):
        if settings[name]:
            words += [f"--{name.replace('_', '-')}", repr(settings[name])]
    return Again(shlex.join(words), list(settings["given_as_objects"]))


def to_come(settings: Line, rows: list[Row]) -> list[str]:
    """The runs that were asked for and have not begun."""
    begun = [(row.model, row.rule) for row in rows]
    return [
        f"{rule} on {model}"
        for model in settings["models"]
        for rule in settings["rules"]
        if (model, rule) not in begun
    ]


def sources(rules: list[str]) -> tuple[list[str], list[str]]:
    """The BibTeX of these rules, each entry once, and the rules that have none here."""
    found = {name: find_entry(name) for name in rules}
    texts = {name: entry.citation for name, entry in found.items() if entry}
    split = [entry for text in texts.values() for entry in re.split(r"\n(?=@)", text)]
    entries = dict.fromkeys(_laid_out(entry) for entry in split if entry)
    return list(entries), [name for name in rules if not texts.get(name)]


def _laid_out(bibtex: str) -> str:
    """A field to a line."""
    text = re.sub(r",\s*(?=\w+\s*=\s*\{)", ",\n  ", bibtex.strip())
    return re.sub(r"\}\}$", "}\n}", text)

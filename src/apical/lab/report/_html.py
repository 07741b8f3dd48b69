"""The HTML page of a comparison, in one file that loads nothing from the network.

The text is in `templates/page.html.jinja`; this module computes what it is filled with.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from apical.lab._registry import BASELINE, CONTROL
from apical.lab._rule_lookup import find_spec
from apical.lab.data._labels import score_in
from apical.lab.report._findings import findings
from apical.lab.report._html_table import (
    COLUMNS,
    TableRow,
    cosine,
    counted,
    percent,
    plain,
    points,
    ratio,
    table_row,
)
from apical.lab.report._summary import BAND, Row, by_run
from apical.lab.report._terminal_table import COLUMNS as REGIME_COLUMNS
from apical.lab.report._terminal_table import regime_rows, sources_of_noise, tuning
from apical.lab.report.figures._style import NAMED
from apical.lab.report.figures._trials import POINTS, WorkingRange, ended, working_range
from apical.lab.storage._jsonl import Line, Lines
from apical.measure import measured_needs

# ---- Figures as inline SVG

_COLOURS = {colour.light: name for name, colour in NAMED.items()}


def inline(svg: str, name: str, label: str) -> str:
    """The figure as an HTML element, in the colours of the page.

    Args:
        svg: the file that matplotlib writes.
        name: of the figure; a prefix that makes ids unique in the page.
        label: the text alternative for screen readers.
    """
    size = re.search(r'viewBox="([^"]+)"', svg)
    if size is None:
        raise ValueError("svg: it has no viewBox; pass the SVG of a rendered figure")
    body = svg[svg.index("<defs>") : svg.rindex("</svg>")]
    body = re.sub(r'<style type="text/css">.*?</style>', "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'\bd="[^"]*"', _rounded, body)
    body = re.sub(r'style="[^"]*"', _named, body)
    return (
        f'<svg class="drawing" role="img" viewBox="{size[1]}" '
        f"aria-label={quoteattr(label)}>\n{body}</svg>"
    )


def _rounded(path: re.Match[str]) -> str:
    """Round to a hundredth of a point, which halves the size of the file."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path[0])


def _named(style: re.Match[str]) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", _variable, style[0])


def _variable(colour: re.Match[str]) -> str:
    name = _COLOURS.get(colour[0])
    return colour[0] if name is None else f"var(--{name})"


# ---- How to repeat the comparison, and what to cite


class RerunCommand(NamedTuple):
    """A command line, and the arguments that it cannot contain."""

    command: str
    objects: list[str]


def rerun_command(settings: Line) -> RerunCommand:
    """The command that repeats the comparison, with the names of files for paths."""
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
    objects = list(settings["given_as_objects"])
    if settings.get("search_spaces"):
        objects.append("search_spaces")
    return RerunCommand(shlex.join(words), objects)


def not_begun(settings: Line, rows: list[Row]) -> list[str]:
    """The runs that have not begun."""
    begun = [(row.model, row.rule) for row in rows]
    return [
        f"{rule} on {model}"
        for model in settings["models"]
        for rule in settings["rules"]
        if (model, rule) not in begun
    ]


def sources(rules: list[str]) -> tuple[list[str], list[str]]:
    """The BibTeX entries of these rules, each once, and the rules without one."""
    found = {name: find_spec(name) for name in rules}
    texts = {name: entry.citation for name, entry in found.items() if entry}
    split = [entry for text in texts.values() for entry in re.split(r"\n(?=@)", text)]
    entries = dict.fromkeys(_laid_out(entry) for entry in split if entry)
    return list(entries), [name for name in rules if not texts.get(name)]


def _laid_out(bibtex: str) -> str:
    """One field per line."""
    text = re.sub(r",\s*(?=\w+\s*=\s*\{)", ",\n  ", bibtex.strip())
    return re.sub(r"\}\}$", "}\n}", text)


# ---- The page

_VERSIONS = ("apical", "python", "jax", "jaxlib", "numpy", "optax", "equinox")
_LABELS = {
    "figure": "Test {} and alignment over the epochs, and {} against time",
    "layers": "Alignment of each layer over the epochs, by model and rule",
    "cost": "Test {} against time, FLOPs, memory and sequential depth",
    "varied": "Test {} and alignment against a hyper-parameter",
    "trials": "Held-out {} against step size, by model and rule",
}


class Search(NamedTuple):
    """A summary of the trials of one rule on one model."""

    model: str
    rule: str
    trials: int
    lost: int
    chosen: Mapping[str, Any] | None
    numbers: str
    span: WorkingRange | None
    at_the_edge: str


def page(comparison: Any, drawings: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        comparison: its `records`, `trials`, `rows` and `settings` are read.
        drawings: the figures as SVG, by file name.

    Returns:
        The whole document.
    """
    score = score_in(comparison.records[0]).name
    figures = {
        name: Markup(inline(svg, name, _LABELS[name].replace("{}", score)))
        for name, svg in drawings.items()
    }
    content = _content(comparison)
    template = _environment().get_template("page.html.jinja")
    return template.render(figures=figures, palette=NAMED, **content)


def fragment(comparison: Any) -> str:
    """The result tables alone, for a notebook."""
    records = comparison.records
    if not records:
        return "<p>This comparison has no records yet.</p>"
    rows = comparison.rows
    return (
        _environment()
        .get_template("fragment.html.jinja")
        .render(
            first=records[0],
            tuning=tuning(records[0]),
            columns=_columns(rows),
            tables=_tables(records, rows),
        )
    )


def _environment() -> Environment:
    return jinja_environment(
        "apical.lab.report",
        counted=counted,
        cosine=cosine,
        percent=percent,
        plain=plain,
        points=points,
        ratio=ratio,
    )


def jinja_environment(package: str, **functions: Callable[..., Any]) -> Environment:
    """The templates of a package; a name that is not known is an error.

    Args:
        package: its name; the templates are in its folder `templates`.
        functions: that templates may call.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(functions)
    return environment


def _columns(rows: list[Row]) -> list[str]:
    return [column.format(rows[0].score.name) for column in COLUMNS]


def _content(comparison: Any) -> dict[str, Any]:
    records, trials, rows = comparison.records, comparison.trials, comparison.rows
    settings, score = comparison.settings, score_in(records[0])
    rules = list(dict.fromkeys(row.rule for row in rows))
    entries, uncited = sources(rules)
    return {
        "first": records[0],
        "tuning": tuning(records[0]),
        "models": list(dict.fromkeys(row.model for row in rows)),
        "rules": rules,
        "baseline": BASELINE,
        "control": CONTROL,
        "findings": findings(rows),
        "score": score,
        "band": 100 * BAND,
        "noise": sources_of_noise(records[0]),
        "columns": _columns(rows),
        "tables": _tables(records, rows),
        "regimes": regime_rows(comparison.regimes),
        "regime_columns": REGIME_COLUMNS,
        "searches": _searches(trials),
        "points_allowed": POINTS,
        "needs": list(dict.fromkeys(need for row in rows for need in row.needs)),
        "needed": {row.rule: _marked_needs(row) for row in rows},
        "lost": [row for row in rows if row.status in ("diverged", "refused")],
        "unfinished": any(row.status == "unfinished" for row in rows),
        "not_begun": not_begun(settings, rows),
        "messages": _messages(records),
        "versions": [(name, records[0][name]) for name in _VERSIONS],
        "runs": [(row, _rule_class(records, row), _numbers(row)) for row in rows],
        "rerun": rerun_command(settings),
        "entries": entries,
        "uncited": uncited,
    }


def _marked_needs(row: Row) -> dict[str, str]:
    """For each need of a rule whether it was measured, or declared alone."""
    found = measured_needs().get(row.rule, {})
    return {
        need: "measured" if found.get(need) == "yes" else "declared"
        for need in row.needs
    }


def _tables(records: Lines, rows: list[Row]) -> dict[str, list[TableRow]]:
    runs, tables = by_run(records), {}
    for row in rows:
        shown = table_row(row, runs[row.model, row.rule])
        tables.setdefault(row.model, []).append(shown)
    return tables


def _searches(trials: Lines) -> list[Search]:
    return [
        Search(
            model,
            rule,
            trials=len(lines),
            lost=sum(not ended(trial) for trial in lines),
            chosen=(
                chosen := next((t for t in lines if t["chosen"] and ended(t)), None)
            ),
            numbers=_listed(chosen["numbers"]) if chosen else "",
            span=working_range(lines),
            at_the_edge=_at_the_edge(chosen, lines) if chosen else "",
        )
        for (model, rule), lines in by_run(trials).items()
    ]


def _at_the_edge(chosen: Mapping[str, Any], trials: Lines) -> str:
    """Whether the chosen step size is the lowest or highest of the trials, in words."""
    rates = [trial["learning_rate"] for trial in trials]
    if chosen["learning_rate"] == min(rates):
        return "the lowest tried"
    return "the highest tried" if chosen["learning_rate"] == max(rates) else ""


def _messages(records: Lines) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Why seeds diverged or were refused: for each run, seeds, epoch and message."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for key, lines in by_run(records).items():
        when: dict[tuple[int, str], list[str]] = {}
        seen: set[int] = set()
        for record in lines:
            lost = record["status"] in ("diverged", "refused")
            if lost and record["seed"] not in seen:
                seen.add(record["seed"])
                event = record["epoch"], record["message"]
                when.setdefault(event, []).append(str(record["seed"]))
        found[key] = [
            (f"seed {', '.join(seeds)}, epoch {epoch}", message)
            for (epoch, message), seeds in when.items()
        ]
    return found


def _rule_class(records: Lines, row: Row) -> str:
    key = row.model, row.rule
    return next(r["rule_class"] for r in records if (r["model"], r["rule"]) == key)


def _numbers(row: Row) -> str:
    return _listed(row.hyper_parameters)


def _listed(fields: str) -> str:
    """The fields of a rule, given as JSON, in words."""
    return ", ".join(
        f"{name} = {_value(value)}" for name, value in json.loads(fields).items()
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{k}={_value(v)}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')}({inner})"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "not set" if value is None else str(value)

"""`apical rules`: the matrix of rules and their needs, and the details of one rule."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from apical.cli._app import app, lab, stops
from apical.lab._call_syntax import parse_call_or_name
from apical.lab._errors import resolve_names
from apical.lab.report._terminal import (
    Cell,
    GroupedTable,
    NameCell,
    as_text,
    make_table,
    print_text,
)
from apical.measure import measured_needs, needs_table
from apical.rules.tools import NEEDS

_MEASURED, _DECLARED, _NOT_NEEDED = "•", "◦", "·"
_LOSSES = {"loss": "the loss function", "squared-error": "half the squared error"}
_LOSSES |= {"nothing": "no loss"}
# A section of a docstring, and an indented block between paragraphs.
_SECTION = re.compile(
    r"^(Args|Attributes|Example|Raises|Returns|Source):", re.MULTILINE
)
_BLOCK = re.compile(r"(?:\A|\n\n)((?: {4}.*(?:\n|\Z))+)")


@app.command()
def rules(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show this rule: equation, needs, ..."),
    ] = None,
) -> None:
    """List the rules and what each needs, or show one rule."""
    with stops(""):
        if name is None:
            _list_rules(Console())
        else:
            _show_rule(Console(), name)


# ---- The matrix


def _list_rules(console: Console) -> None:
    groups = {
        "": {name: spec.needs for name, spec in lab().RULES.items()},
        "Not available by name in `apical compare`": {
            name: found.spec.needs for name, found in lab().NOT_COMPARED.items()
        },
    }
    measured = measured_needs()
    headers = ["rule", *(str(i) for i, _ in enumerate(NEEDS, 1))]
    rows = {title: list(_matrix(group, measured)) for title, group in groups.items()}
    console.print(GroupedTable(headers, rows))
    for name, found in lab().NOT_COMPARED.items():
        print_text(console, f"{name}: {found.why}")
    numbered = "; ".join(f"{i} {need}" for i, need in enumerate(NEEDS, 1))
    print_text(
        console, f"\nNeeds that a biological neuron is not known to meet: {numbered}."
    )
    print_text(
        console,
        f"\n{_MEASURED} measured on a small network (docs/locality.md), {_DECLARED} "
        f"declared, not measured, {_NOT_NEEDED} not needed.",
    )
    print_text(
        console,
        "\nOne rule with its equation and source: apical rules NAME. Claims about "
        "rules and their verdicts: apical claims list.",
    )


def _matrix(
    needs: Mapping[str, tuple[str, ...]], measured: Mapping[str, Mapping[str, str]]
) -> Iterator[list[Cell]]:
    for name, mine in needs.items():
        seen = [need for need in mine if measured[name][need] == "yes"]
        marks = [
            _MEASURED if need in seen else _DECLARED if need in mine else _NOT_NEEDED
            for need in NEEDS
        ]
        yield [NameCell(name), *map(as_text, marks)]


# ---- One rule


class RuleText(NamedTuple):
    """The parts of the docstring of a rule.

    Attributes:
        summary: its first line.
        equation: the first indented block of the class, or else of its module.
        arguments: descriptions by name.
        refused: the cases in which the rule raises an error.
        source: the papers.
    """

    summary: str
    equation: str
    arguments: dict[str, str]
    refused: str
    source: str


def read_docstring(kind: type) -> RuleText:
    """Split the docstring of a rule into its parts.

    Example:
        >>> from apical.rules import FeedbackAlignment
        >>> read_docstring(FeedbackAlignment).equation
        '    dL/dx = delta B    in place of    dL/dx = delta W^T'
    """
    text = inspect.cleandoc(kind.__doc__ or "")
    body, *parts = _SECTION.split(text)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    sections = {name: words.split("\n\n")[0] for name, words in pairs}
    module = inspect.getdoc(inspect.getmodule(kind)) or ""
    blocks = _BLOCK.findall(body) or _BLOCK.findall(_SECTION.split(module)[0])
    described = re.findall(
        r"^  (\w+): ((?:.*\n?)(?:   +.*\n?)*)", sections.get("Args", ""), re.M
    )
    refused = _one_line(sections.get("Raises", "")).removeprefix("ValueError: ")
    return RuleText(
        summary=text.partition("\n")[0],
        equation=blocks[0].rstrip() if blocks else "",
        arguments={name: _one_line(words) for name, words in described},
        refused=refused,
        source=_one_line(sections.get("Source", "")),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _show_rule(console: Console, name: str) -> None:
    title, spec, why = _find(name)
    made = spec.make()
    words = read_docstring(type(made))
    keys = ", ".join(re.findall(r"@\w+\{\s*([^,\s]+)", spec.citation))
    print_text(console, type(made).__name__, "bold", before=f"{title}:")
    print_text(console, f"\n{words.summary}")
    if words.equation:
        console.print(as_text(f"\n{words.equation}"), soft_wrap=True)
    console.print(
        make_table(
            ("", ""),
            [
                [as_text(label), as_text(text)]
                for label, text in {
                    "source": words.source or "none",
                    "BibTeX": keys or "none",
                    "needs": ", ".join(spec.needs) or "nothing",
                    **_measured(title),
                    "descends": _LOSSES.get(made.descends, made.descends),
                    "where it works": " ".join(_where_it_works(made, words, why)),
                }.items()
            ],
            show_header=False,
        )
    )
    rows = list(_numbers(made, spec.search_space, words.arguments))
    if rows:
        headers = ("hyper-parameter", "default", "search space", "meaning")
        console.print(make_table(headers, rows))
    if not why:
        print_text(console, f"Compare it: apical compare --rules {title}")


def _measured(title: str) -> dict[str, str]:
    """Which needs of a rule were measured; nothing for a rule without a row."""
    kept = needs_table().get(title)
    if kept is None:
        return {}
    words = {
        word: ", ".join(need for need, found in kept.needs.items() if found == word)
        for word in ("yes", "no", "not decided")
    }
    why = f" {kept.why}" if kept.why else ""
    return {
        "measured": words["yes"] or "none",
        "excluded": words["no"] or "none",
        "not decided": (words["not decided"] or "none") + (f".{why}" if why else ""),
        "measured on": kept.network,
    }


def _find(name: str) -> tuple[str, Any, str]:
    """The name of the row, its spec, and why it is not compared (or "")."""
    from apical.lab._rule_lookup import find_rules

    apart = lab().NOT_COMPARED
    bare = parse_call_or_name(name).name
    if ":" not in bare:
        (bare,) = resolve_names("rule", [bare], [*lab().RULES, *apart])
    if bare in apart:
        return bare, apart[bare].spec, apart[bare].why
    ((title, spec),) = find_rules([name]).items()
    return title, spec, ""


def _where_it_works(made: Any, words: RuleText, why: str) -> Iterator[str]:
    if why:
        yield f"Not available by name in a comparison: {why}."
    if made.derivative_free:
        yield "The loss need not be differentiable."
    if made.coupled:
        yield "Train with `apical.train_step`, which updates parameters and state."
    yield (
        f"Raises ValueError {words.refused}"
        if words.refused
        else "No restrictions beyond those of all rules."
    )
    yield "Tested models: docs/rules-and-models.md."


def _numbers(
    made: Any, space: Mapping[str, Any], meanings: Mapping[str, str]
) -> Iterator[list[Cell]]:
    for field in fields(made):
        drawn = ""
        if field.name in space:
            low, high, scale = space[field.name]
            drawn = f"{low:g} to {high:g}, {scale}"
        yield [
            NameCell(field.name),
            as_text(_value(getattr(made, field.name))),
            as_text(drawn or "–"),
            as_text(meanings.get(field.name, "")),
        ]


def _value(value: Any) -> str:
    """A default in short: of an object its type."""
    if is_dataclass(value):
        return f"{type(value).__name__}()"
    plain = isinstance(value, bool | int | float | str | None)
    return repr(value) if plain else type(value).__name__

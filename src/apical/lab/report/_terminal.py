"""Text and tables for the terminal: literal text, no broken words, any encoding.

Names, paths and errors come from users and files. Converted to `Text` here, they are
never interpreted as markup or emoji.
"""

import codecs
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Markdown, TableElement
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

# Where a name may be broken: a-b, a:b, a_b, a(b=c), a.b, but not 1e-5 or 0.5.
_BREAK = re.compile(r"(?<=[-.])(?=[^\W\d])|(?<=[:,(_=/ ])")
_LONGEST = 32  # characters: longer words may be broken anywhere
# Replacements for an encoding that lacks these, one character each to keep columns.
_NEAREST = str.maketrans(
    "−–—→←·•◦×…’‘“”━╸╺│─²\N{NO-BREAK SPACE}",  # noqa: RUF001
    "---><.*ox.''\"\"---|-2 ",
) | str.maketrans({"±": "+-"})  # and the space after it is dropped
_TOLERANT = "apical.nearest"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = "".join(c if c.isascii() else "?" for c in lacking.translate(_NEAREST))
    shorter = lacking.endswith("±") and error.object[error.end :].startswith(" ")
    return shown, error.end + shorter


codecs.register_error(_TOLERANT, _nearest)


def replace_unencodable(stream: Any) -> None:
    """Make a stream replace characters that its encoding lacks instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_TOLERANT)


def as_text(words: object, style: str = "") -> Text:
    r"""Literal text; control characters are escaped.

    Example:
        >>> print(as_text("[red]:smile:\N{ESCAPE}[0m"))
        [red]:smile:\x1b[0m
    """
    text = "".join(
        c if c.isprintable() or c in "\n\t" else _escaped(c) for c in str(words)
    )
    return Text(text, style=style)


def _escaped(letter: str) -> str:
    kept = letter == "\N{NO-BREAK SPACE}" or "\ud800" <= letter <= "\udfff"
    return letter if kept else letter.encode("unicode_escape").decode()


def print_text(
    console: Console, words: object, style: str = "", before: str = ""
) -> None:
    """Print text that is wrapped between words only, so that paths can be copied.

    Args:
        console: the console.
        words: the text.
        style: the style of `before`.
        before: a prefix.
    """
    text = as_text(f"{before} {words}" if before else words)
    lines = [
        textwrap.fill(
            line, console.width, break_long_words=False, break_on_hyphens=False
        )
        for line in text.plain.split("\n")
    ]
    shown = Text("\n".join(lines))
    shown.stylize(style, 0, len(before))
    console.print(shown, soft_wrap=True)


class NameCell:
    """A name in a table; it may be wrapped after a hyphen, colon or bracket."""

    def __init__(self, name: object, style: str = ""):
        self.text, self.style = as_text(name).plain, style

    @property
    def plain(self) -> str:
        """The name without line breaks."""
        return self.text

    @property
    def narrowest(self) -> int:
        """The width of its longest part that cannot be wrapped."""
        return max(Text(piece.strip()).cell_len for piece in _BREAK.split(self.text))

    def __rich_measure__(
        self, console: Console, options: ConsoleOptions
    ) -> Measurement:
        """Between the longest part and the whole name."""
        return Measurement(self.narrowest, Text(self.text).cell_len)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """As many parts on a line as fit."""
        lines = [""]
        for piece in _BREAK.split(self.text):
            fits = Text(lines[-1] + piece.rstrip()).cell_len <= options.max_width
            lines = [*lines[:-1], lines[-1] + piece] if fits else [*lines, piece]
        yield Text("\n".join(lines).lstrip("\n"), style=self.style)


Cell = Text | NameCell


class WordTable(Table):
    """A table whose columns are at least as wide as their longest word.

    Rich narrows all columns alike and cuts off what does not fit.
    """

    def __init__(
        self, least: list[int], wanted: list[int], edges: bool = True, **options: Any
    ):
        super().__init__(**options)
        self._least = [min(_LONGEST, width) for width in least]
        self._wanted, self._edges = wanted, edges

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """The table with column widths for this console."""
        available = options.max_width - 2 * (len(self._wanted) - 1)  # gaps
        self.show_edge = self._edges and sum(self._least) <= available - 2
        widths = self._shared(available - 2 if self.show_edge else available)
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    @property
    def whole_width(self) -> int:
        """The width at which nothing is wrapped."""
        return sum(self._wanted) + 2 * (len(self._wanted) - 1)

    def _shared(self, available: int) -> list[int]:
        """The widest columns that fit; words are broken only if none fit."""
        for least in (self._least, [1] * len(self._least)):
            for level in range(available, 0, -1):
                both = zip(least, self._wanted, strict=True)
                widths = [min(wanted, max(level, low)) for low, wanted in both]
                if sum(widths) <= available:
                    return widths
        return [1] * len(self._wanted)


def make_table(
    headers: Iterable[str],
    rows: Iterable[Iterable[Cell]],
    *,
    numbers: Iterable[int] = (),
    title: str = "",
    caption: str = "",
    alike: Iterable[Iterable[Cell]] = (),
    **options: Any,
) -> WordTable:
    """A table that breaks no word and no number if the terminal is wide enough.

    Args:
        headers: of the columns.
        rows: their cells. A row with one cell is a heading, with a line above it.
        numbers: the right-aligned columns.
        title: text above the table.
        caption: text below the table.
        alike: rows of other tables with the same columns, which decide widths too.
        options: of `rich.table.Table`.
    """
    names, numbers = [as_text(header) for header in headers], set(numbers)
    lines = [tuple(row) for row in rows]
    others = [tuple(row) for row in alike]
    columns = [
        [header, *(row[i] for row in (*lines, *others) if i < len(row))]
        for i, header in enumerate(names)
    ]
    made = WordTable(
        # Numbers are not wrapped, text is wrapped between words.
        [
            max(map(_whole if i in numbers else _narrowest, cells))
            for i, cells in enumerate(columns)
        ],
        [max(map(_whole, cells)) for cells in columns],
        title=as_text(title, "table.title") if title else None,
        caption=as_text(caption, "table.caption") if caption else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        **options,
    )
    for i, header in enumerate(names):
        justify = "right" if i in numbers else "left"
        made.add_column(header, justify=justify, overflow="fold")
    for row in lines:
        if len(row) == 1:
            made.add_section()
        shown: tuple[RenderableType, ...] = row
        made.add_row(*shown)
    return made


class GroupedTable:
    """A table in groups of rows, each under a heading as wide as the terminal.

    Args:
        headers: of the columns.
        groups: rows by heading.
        title: text above the table.
    """

    def __init__(
        self,
        headers: Iterable[str],
        groups: Mapping[str, Iterable[Iterable[Cell]]],
        title: str = "",
    ):
        headers = list(headers)
        rows = {heading: list(rows) for heading, rows in groups.items()}
        every = [row for group in rows.values() for row in group]
        shared: dict[str, Any] = {"alike": every, "edges": False}
        self._title = as_text(title, "table.title")
        self._head = make_table(headers, [], **shared)
        self._groups = {
            heading: make_table(headers, group, show_header=False, **shared)
            for heading, group in rows.items()
        }

    @property
    def whole_width(self) -> int:
        """The width at which nothing is wrapped, headings excepted."""
        return self._head.whole_width

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Title, column headers, and the groups."""
        if self._title:
            yield self._title
        yield self._head
        for heading, rows in self._groups.items():
            yield from (NameCell(heading, "bold"), rows) if heading else (rows,)
        yield Text()


class WidestThatFits:
    """Shows the first of several tables that the terminal can show without wrapping.

    Args:
        tables: from the widest to the narrowest; the last is shown if none fits.
    """

    def __init__(self, *tables: WordTable | GroupedTable):
        self._tables = tables

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """The chosen table."""
        fitting = [t for t in self._tables if t.whole_width <= options.max_width]
        yield (fitting or self._tables[-1:])[0]


class _WrappedTable(TableElement):
    """A table of a Markdown text whose cells are wrapped, never cut off."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        head, body = self.header, self.body
        cells = head.row.cells if head is not None and head.row is not None else ()
        rows = body.rows if body is not None else ()
        yield make_table(
            [cell.content.plain for cell in cells],
            [_named([cell.content.plain for cell in row.cells]) for row in rows],
        )


def _named(cells: list[str]) -> list[Cell]:
    return [
        as_text(cell) if place else NameCell(cell) for place, cell in enumerate(cells)
    ]


class MarkdownPage(Markdown):
    """Markdown on a terminal, with tables whose cells are not cut off."""

    elements: ClassVar = {**Markdown.elements, "table_open": _WrappedTable}


def _whole(cell: Cell) -> int:
    return max(Text(line).cell_len for line in cell.plain.split("\n"))


def _narrowest(cell: Cell) -> int:
    if isinstance(cell, NameCell):
        return cell.narrowest
    words = cell.plain.split()
    return max((Text(word).cell_len for word in words), default=1)

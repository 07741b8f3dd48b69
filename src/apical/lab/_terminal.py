"""What a terminal is shown: words as they are, broken between words, in any encoding.

Names, paths and errors come from users and files. As a `Text` they are never taken for
markup or emoji, whatever console they are printed on; that is made here alone.
"""

import codecs
import re
import textwrap
from collections.abc import Iterable
from typing import Any, ClassVar

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Markdown, TableElement
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

# After these a name may be broken: a-b, a:b, a_b, a(b=c), a.b, but not 1e-5 or 0.5.
_BREAK = re.compile(r"(?<=[-.])(?=[^\W\d])|(?<=[:,(_=/ ])")
_LONGEST = 32  # letters without such a place that are not broken
# What to show where an encoding lacks it: one letter for one, so that columns stay.
_NEAREST = str.maketrans(
    "−–—±→←·•×…’‘“”━╸╺│─\N{NO-BREAK SPACE}",  # noqa: RUF001
    "---~><.*x.''\"\"---|- ",
)
_TOLERANT = "apical.nearest"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_NEAREST)
    return "".join(c if c.isascii() else "?" for c in lacking), error.end


codecs.register_error(_TOLERANT, _nearest)


def tolerate(stream: Any) -> None:
    """Let a stream show the nearest of what its encoding lacks, in place of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_TOLERANT)


def said(words: object, style: str = "") -> Text:
    r"""Words as they are; what is no letter and would steer the terminal is spelt out.

    Example:
        >>> print(said("[red]:smile:\N{ESCAPE}[0m"))
        [red]:smile:\x1b[0m
    """
    text = "".join(
        c if c.isprintable() or c in "\n\t" else _spelt(c) for c in str(words)
    )
    return Text(text, style=style)


def _spelt(letter: str) -> str:
    kept = letter == "\N{NO-BREAK SPACE}" or "\ud800" <= letter <= "\udfff"
    return letter if kept else letter.encode("unicode_escape").decode()


def tell(console: Console, words: object, style: str = "", before: str = "") -> None:
    """Print words, broken between words alone: a path stays whole, to be copied.

    Args:
        console: where.
        words: what is said.
        style: of `before`.
        before: what stands before them.
    """
    text = said(f"{before} {words}" if before else words)
    lines = [
        textwrap.fill(
            line, console.width, break_long_words=False, break_on_hyphens=False
        )
        for line in text.plain.split("\n")
    ]
    shown = Text("\n".join(lines))
    shown.stylize(style, 0, len(before))
    console.print(shown, soft_wrap=True)


class Name:
    """A name in a table, broken where it must be after a hyphen, a colon, a bracket."""

    def __init__(self, name: object, style: str = ""):
        self.text, self.style = said(name).plain, style

    @property
    def plain(self) -> str:
        """The name in one piece."""
        return self.text

    @property
    def narrowest(self) -> int:
        """How wide its longest piece is."""
        return max(Text(piece.strip()).cell_len for piece in _BREAK.split(self.text))

    def __rich_measure__(
        self, console: Console, options: ConsoleOptions
    ) -> Measurement:
        """From its longest piece to the whole."""
        return Measurement(self.narrowest, Text(self.text).cell_len)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """As many pieces on a line as there is room for."""
        lines = [""]
        for piece in _BREAK.split(self.text):
            fits = Text(lines[-1] + piece.rstrip()).cell_len <= options.max_width
            lines = [*lines[:-1], lines[-1] + piece] if fits else [*lines, piece]
        yield Text("\n".join(lines).lstrip("\n"), style=self.style)


Cell = Text | Name


def grid(
    headers: Iterable[str],
    rows: Iterable[Iterable[Cell]],
    *,
    numbers: Iterable[int] = (),
    title: str = "",
    caption: str = "",
) -> Table:
    """A table whose columns are never so narrow that a word or a number is broken.

    Args:
        headers: of the columns.
        rows: their cells. A row of one cell is a heading, with a line above it.
        numbers: the columns that stand at the right.
        title: what stands above.
        caption: what stands below.
    """
    rows, numbers = [tuple(row) for row in rows], set(numbers)
    made = Table(
        title=said(title, "table.title") if title else None,
        caption=said(caption, "table.caption") if caption else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for i, header in enumerate(headers):
        below = [row[i] for row in rows if len(row) > 1]
        # A number is not broken at all, words are between words.
        width = _whole if i in numbers else _narrowest
        widths = map(width, (said(header), *below))
        made.add_column(
            said(header),
            justify="right" if i in numbers else "left",
            min_width=min(_LONGEST, max(widths)),
        )
    for row in rows:
        if len(row) == 1:
            made.add_section()
        shown: tuple[RenderableType, ...] = row
        made.add_row(*shown)
    return made


class _Broken(TableElement):
    """A table whose cells are broken where they do not fit, and never cut."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        head, body = self.header, self.body
        cells = head.row.cells if head is not None and head.row is not None else ()
        rows = body.rows if body is not None else ()
        headers = [cell.content.plain for cell in cells]
        shown = [_named([cell.content.plain for cell in row.cells]) for row in rows]
        table = grid(headers, shown)
        least = [column.min_width or 0 for column in table.columns]
        columns = zip(map(said, headers), *shown, strict=True)
        most = [max(map(_whole, column)) for column in columns]
        spare = options.max_width - 2 * len(headers) - sum(least)
        wanted = sum(most) - sum(least)
        for column, low, high in zip(table.columns, least, most, strict=True):
            column.overflow, column.min_width = "fold", None
            if 0 <= spare < wanted:
                column.width = low + spare * (high - low) // wanted
        yield table


def _named(cells: list[str]) -> list[Cell]:
    return [said(cell) if place else Name(cell) for place, cell in enumerate(cells)]


class Page(Markdown):
    """Markdown on a terminal, all of it: in narrow tables names are not cut."""

    elements: ClassVar = {**Markdown.elements, "table_open": _Broken}


def _whole(cell: Cell) -> int:
    return max(Text(line).cell_len for line in cell.plain.split("\n"))


def _narrowest(cell: Cell) -> int:
    if isinstance(cell, Name):
        return cell.narrowest
    words = cell.plain.split()
    return max((Text(word).cell_len for word in words), default=1)

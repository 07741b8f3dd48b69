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
    "−–—→←·•×…’‘“”━╸╺│─²\N{NO-BREAK SPACE}",  # noqa: RUF001
    "---><.*x.''\"\"---|-2 ",
) | str.maketrans({"±": "+-"})  # and the space after it goes
_TOLERANT = "apical.nearest"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = "".join(c if c.isascii() else "?" for c in lacking.translate(_NEAREST))
    shorter = lacking.endswith("±") and error.object[error.end :].startswith(" ")
    return shown, error.end + shorter


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
    """A table in which no word and no number is broken, wherever there is room.

    Args:
        headers: of the columns.
        rows: their cells. A row of one cell is a heading, with a line above it.
        numbers: the columns that stand at the right.
        title: what stands above.
        caption: what stands below.
    """
    names, numbers = [said(header) for header in headers], set(numbers)
    lines = [tuple(row) for row in rows]
    columns = [
        [header, *(row[i] for row in lines if i < len(row))]
        for i, header in enumerate(names)
    ]
    made = _Grid(
        # A number is not broken at all, words are between words.
        [
            max(map(_whole if i in numbers else _narrowest, cells))
            for i, cells in enumerate(columns)
        ],
        [max(map(_whole, cells)) for cells in columns],
        title=said(title, "table.title") if title else None,
        caption=said(caption, "table.caption") if caption else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
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


class _Grid(Table):
    """A table that gives each column the room of its longest word before any other.

    Rich makes all columns equally narrow and cuts off what then does not fit.
    """

    def __init__(self, least: list[int], wanted: list[int], **options: Any):
        super().__init__(**options)
        self._least = [min(_LONGEST, width) for width in least]
        self._wanted = wanted

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """With widths for this console."""
        room = options.max_width - 2 * (len(self._wanted) - 1)  # between columns
        self.show_edge = sum(self._least) <= room - 2
        widths = self._shared(room - 2 if self.show_edge else room)
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _shared(self, room: int) -> list[int]:
        """The widest that fit; words are broken only where no widths fit them all."""
        for least in (self._least, [1] * len(self._least)):
            for level in range(room, 0, -1):
                both = zip(least, self._wanted, strict=True)
                widths = [min(wanted, max(level, low)) for low, wanted in both]
                if sum(widths) <= room:
                    return widths
        return [1] * len(self._wanted)


class _Broken(TableElement):
    """A table whose cells are broken where they do not fit, and never cut."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        head, body = self.header, self.body
        cells = head.row.cells if head is not None and head.row is not None else ()
        rows = body.rows if body is not None else ()
        yield grid(
            [cell.content.plain for cell in cells],
            [_named([cell.content.plain for cell in row.cells]) for row in rows],
        )


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

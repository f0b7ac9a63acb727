"""What commands print: tables, sizes, ages; or JSON where a script asked for it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.amount import size
from tasks.sources.path_text import path_text as text
from workers.cli.shown import shown

__all__ = [
    "STATE",
    "age",
    "console",
    "counted",
    "duration",
    "elsewhere",
    "errors",
    "failure",
    "line",
    "print_json",
    "print_json_list",
    "size",
    "state",
    "table",
    "text",
]


class _Console(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(shown(text), **options)


# Where nobody looks, in a pipe or a log, lines are not to be broken at 80 characters.
console: Console = _Console(highlight=False, width=None if sys.stdout.isatty() else 200)
errors: Console = _Console(stderr=True, highlight=False)

_LEAST_COLUMN = 8
"""Letters to which a column of words may be folded."""
_MOST_ROWS = 1000
"""Of a table that is laid out at once."""
_IN_MEMORY = 16 << 20
STATE = {"done": "green", "incomplete": "yellow", "failed": "red", "skipped": "dim", "running": "cyan"}


def failure(told: Mapping[str, Any], here: str, *, indent: int) -> None:
    """One of a report's."""
    text = f"{' ' * indent}{told['step']}{elsewhere(told, here)}: {told['message']}"
    console.print(text, style="red", markup=False, soft_wrap=True)


def elsewhere(told: Mapping[str, Any], here: str) -> str:
    """The host that a failure comes from, where that is not this one: its backup.toml, its clock or its disk may be
    what is wrong."""
    host = told.get("host") or here
    return f" on `{host}`" if host != here else ""


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(data, default=_plain, ensure_ascii=True))  # noqa: T201  # the console would wrap long lines


def print_json_list(rows: Iterable[Any]) -> None:
    """One document, a list, of any number of rows. It is printed once all of it is there, held on disk until then: an
    error on the way would be the second half of none."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii") as held:
        held.write("[")
        for number, row in enumerate(rows):
            held.write((", " if number else "") + json.dumps(row, default=_plain, ensure_ascii=True))
        held.write("]\n")
        held.seek(0)
        shutil.copyfileobj(held, sys.stdout)


def line(words: str, style: str = "") -> None:
    """One of many, never broken. Where no terminal wants it in colour, a tenth of the time does."""
    if console.is_terminal:
        console.print(words, style=style, markup=False, soft_wrap=True)
    else:
        console.file.write(shown(words) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return text(value)
    return str(value)


def table(columns: Sequence[str | tuple[str, str]], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Columns are names; `(name, "right")` aligns figures and never breaks them. Cells are text, styled or not. Where
    the terminal is too narrow, each row is a few lines, one for each cell that is not empty. A long one is not held:
    its first rows say how wide the columns are."""
    all_cells = ([_cell(content) for content in row] for row in rows)
    cells = list(islice(all_cells, _MOST_ROWS))
    if console.width < _narrowest(columns, cells):
        _print_below_each_other(columns, chain(cells, all_cells), title)
        return
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        name, justify = (column, "left") if isinstance(column, str) else column
        right = justify == "right"
        made.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=_is_whole(column))
    for row in cells:
        made.add_row(*row)
    console.print(made)
    _print_rest(columns, cells, all_cells)


def _print_rest(columns: Sequence[str | tuple[str, str]], first: list[list[Text]], rows: Iterator[list[Text]]) -> None:
    widths = [max(cell.cell_len for cell in cells) for cells in zip(*first, strict=True)]
    for row in rows:
        for cell, column, width in zip(row, columns, widths, strict=True):
            pad = cell.pad_right if isinstance(column, str) else cell.pad_left
            pad(width - cell.cell_len)
        line("  ".join(cell.plain for cell in row).rstrip())


def _is_whole(column: str | tuple[str, str]) -> bool:
    """Whether its cells are never broken."""
    return column == "snapshot" or not isinstance(column, str)


def _narrowest(columns: Sequence[str | tuple[str, str]], rows: Iterable[Sequence[Text]]) -> int:
    """The width below which columns would vanish, or be broken into what nobody can read."""
    widths = list[int]()
    for column, cells in zip(columns, zip(*rows, strict=True), strict=False):  # without rows there is nothing to lose
        name = column if isinstance(column, str) else column[0]
        widest = max(len(name), *(cell.cell_len for cell in cells))
        widths.append(widest if _is_whole(column) else min(widest, _LEAST_COLUMN))
    return sum(widths) + 2 * (len(widths) - 1)


def _print_below_each_other(
    columns: Sequence[str | tuple[str, str]], rows: Iterable[Sequence[Text]], title: str | None
) -> None:
    names = [column if isinstance(column, str) else column[0] for column in columns]
    if title:
        console.print(title, style="bold", markup=False, soft_wrap=True)
    for row in rows:
        for name, cell in zip(names, row, strict=True):
            if cell.plain:
                console.print(Text.assemble((f"{name:<{max(map(len, names))}}  ", "dim"), cell), soft_wrap=True)
        console.print()


def _cell(content: Any) -> Text:
    if isinstance(content, Text):
        return content if content.plain.isprintable() else Text(shown(content.plain), style=content.style)
    return Text(shown(str(content)))


def state(name: str) -> Text:
    return Text(name, style=STATE.get(name, ""))


def counted(number: float, what: str) -> str:
    """As in `1 snapshot`, and `2,000 snapshots`."""
    return f"{number:,.0f} {what}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def age(moment: datetime) -> str:
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now" if seconds >= -60 else "in the future"

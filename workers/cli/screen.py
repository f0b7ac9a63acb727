"""What commands print: tables, sizes, ages; or JSON where a script asked for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

STATE = {"done": "green", "incomplete": "yellow", "failed": "red", "skipped": "dim", "running": "cyan"}


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(data, default=_plain, ensure_ascii=True))  # noqa: T201  # the console would wrap long lines


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return text(value)
    return str(value)


def table(columns: Sequence[str | tuple[str, str]], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Columns are names; `(name, "right")` aligns figures. Cells are text, styled or not."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        name, justify = (column, "left") if isinstance(column, str) else column
        made.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    console.print(made)


def state(name: str) -> Text:
    return Text(name, style=STATE.get(name, ""))


def size(count: float) -> str:
    """Bytes in powers of 1000, as disks are sold: `1.5 GB`."""
    value, units = float(count), ("B", "kB", "MB", "GB", "TB", "PB")
    for unit in units:
        if abs(value) < 999.5 or unit == units[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


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


def text(path: bytes) -> str:
    """A path of any bytes as a terminal may show it: control characters and what is no UTF-8 are escaped."""
    decoded = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)

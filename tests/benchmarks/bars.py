"""Bars to be reached, as lines of `corpus step figures against limit`, judged only when asked for; never a timed test.

`corpus` and `step` may be `*`, `figures` and `against` may be lists with commas. Steps are written `read-all` and
`first-proven` where the table has more than one word. Figures are `wall`, `cpu` and `bytes` against a peer, where
`limit` is a ratio, and `peak` against `MB`. `#` starts a comment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.table import ROWS, Cells

FOLDER = Path(__file__).with_name("limits")


class Bar(NamedTuple):
    corpus: str
    step: str
    figure: str
    against: str
    limit: float


class Judged(NamedTuple):
    """`value` is None where the run has nothing to judge the bar by, which counts as missed."""

    bar: Bar
    value: float | None

    @property
    def reached(self) -> bool:
        return self.value is not None and self.value <= self.bar.limit


def named() -> list[str]:
    """The sets that are kept here."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(text_or_name: str) -> list[Bar]:
    """From a file, the name of a set in `limits/`, or lines given as they are with `;` between. Raises `ValueError`."""
    if text_or_name in named():
        text = (FOLDER / f"{text_or_name}.txt").read_text()
    else:
        text = text_or_name if ";" in text_or_name or " " in text_or_name else Path(text_or_name).read_text()
    bars: list[Bar] = []
    for line in text.replace(";", "\n").splitlines():
        fields = line.partition("#")[0].split(maxsplit=4)
        if not fields:
            continue
        if len(fields) != 5:
            raise ValueError(f"`{line.strip()}` is no bar: write `corpus step figures against limit`")
        corpus, step, figures, against, limit = (
            field.replace("read-all", "read all").replace("first-proven", "first, proven") for field in fields
        )
        if step != "*" and step not in ROWS:
            raise ValueError(f"`{step}` is no step: use {', '.join(ROWS)} or `*`")
        bars += [
            Bar(corpus, step, figure, peer, float(limit))
            for figure in figures.split(",")
            for peer in against.split(",")
        ]
    return bars


def judge(bars: list[Bar], cells: Cells, program: str) -> list[Judged]:
    """Each bar on every row it speaks of."""
    return [judged for bar in bars for judged in _rows(bar, cells, program)]


def _rows(bar: Bar, cells: Cells, program: str) -> Iterator[Judged]:
    corpora = dict.fromkeys(corpus for corpus, _, _ in cells if bar.corpus in ("*", corpus))
    for corpus in corpora:
        for step in ROWS if bar.step == "*" else (bar.step,):
            row = bar._replace(corpus=corpus, step=step)
            ours, theirs = cells.get((corpus, step, program)), cells.get((corpus, step, bar.against))
            if ours and bar.figure == "peak":
                yield Judged(row, ours.peak / 1e6)
            elif ours and theirs:
                yield Judged(row, ours.against(theirs, step).get(bar.figure))
            else:
                yield Judged(row, None)


def report(judged: list[Judged]) -> str:
    """A markdown table, the missed ones first."""
    lines = ["| corpus | step | figure | against | limit | measured | |", "|---|---|---|---|---|---|---|"]
    for bar, value in sorted(judged, key=lambda one: one.reached):
        shown = "nothing" if value is None else f"{value:.2f}"
        mark = "reached" if Judged(bar, value).reached else "**missed**"
        lines.append(f"| {bar.corpus} | {bar.step} | {bar.figure} | {bar.against} | {bar.limit:g} | {shown} | {mark} |")
    return "\n".join(lines) + "\n"

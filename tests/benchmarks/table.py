"""The results as medians: a JSON document for programs and a markdown table for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from tests.benchmarks.corpora.corpus import CORPORA
from tests.benchmarks.rounds import STEPS, Result

PEERS = ("restic", "Borg")
SAVING = ("first", "changed", "unchanged")
PROVEN = "first, proven"
ROWS = ("first", PROVEN, *STEPS[1:])

LEGEND = (
    "Cells are wall s / CPU s / MB that the step stored, then the greatest memory of any step in MB; ratios are"
    " wall / CPU / bytes, below 1 is ahead. *First, proven* is what it takes to save and to read back what was saved:"
    " for a program that always does both its first step, for others the sum of *first* and *read all*."
    " Medians of the rounds; `*` ran in fewer rounds."
)


class Cell(NamedTuple):
    """Medians over the rounds: seconds and bytes."""

    wall: float
    cpu: float
    peak: float
    stored: float
    added: float
    rounds: int

    def against(self, peer: Cell, step: str) -> dict[str, float]:
        """Ratios, below 1 is ahead; of bytes only where the step is meant to store any."""
        figures = {"wall": self.wall / peer.wall, "cpu": self.cpu / peer.cpu}
        if step in ("first", "changed", PROVEN) and peer.added:
            figures["bytes"] = self.added / peer.added
        return figures


Cells = Mapping[tuple[str, str, str], Cell]
"""By corpus, step and program."""


def medians(results: Iterable[Result], proving: Collection[str] = ()) -> dict[tuple[str, str, str], Cell]:
    """`proving`: the names of the programs whose every save reads back what it has stored."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.corpus, result.step, result.program), []).append(result)
    cells = {
        key: Cell(
            wall=median(result.cost.wall for result in group),
            cpu=median(result.cost.cpu for result in group),
            peak=median(result.cost.peak for result in group),
            stored=median(result.stored for result in group),
            added=median(result.added for result in group),
            rounds=len(group),
        )
        for key, group in groups.items()
    }
    for corpus, step, program in list(cells):
        first, reading = cells[corpus, step, program], cells.get((corpus, "read all", program))
        if step == "first" and program in proving:
            cells[corpus, PROVEN, program] = first
        elif step == "first" and reading:
            both = first._replace(wall=first.wall + reading.wall, cpu=first.cpu + reading.cpu)
            cells[corpus, PROVEN, program] = both._replace(peak=max(first.peak, reading.peak))
    return cells


def document(cells: Cells, machine: Mapping[str, object], ours: Sequence[str]) -> dict[str, object]:
    """For programs: seconds and bytes of each cell, and our programs' ratios."""
    rows = []
    for (corpus, step, program), cell in cells.items():
        row: dict[str, object] = {"corpus": corpus, "step": step, "program": program, **cell._asdict()}
        if program in ours:
            peers = {peer: cells.get((corpus, step, peer)) for peer in PEERS}
            row["against"] = {name: cell.against(peer, step) for name, peer in peers.items() if peer}
        rows.append(row)
    return {"machine": dict(machine), "rows": rows}


def markdown(cells: Cells, machine: Mapping[str, object], ours: Sequence[str]) -> str:
    lines = [LEGEND, ""]
    for corpus in dict.fromkeys(corpus for corpus, _, _ in cells):
        lines += [f"### {CORPORA[corpus].title}", "", *_rows(cells, corpus, ours), ""]
    lines.append("; ".join(f"{name}: {value}" for name, value in machine.items()))
    return "\n".join(lines) + "\n"


def _rows(cells: Cells, corpus: str, ours: Sequence[str]) -> Iterator[str]:
    programs = list(dict.fromkeys(program for at, _, program in cells if at == corpus))
    pairs = [(program, peer) for program in ours if program in programs for peer in PEERS if peer in programs]
    yield _line("step", *programs, *(f"{program} : {peer}" for program, peer in pairs))
    yield "|---" * (1 + len(programs) + len(pairs)) + "|"
    most = max(cell.rounds for cell in cells.values())
    for step in ROWS:
        row = {program: cells.get((corpus, step, program)) for program in programs}
        yield _line(
            step,
            *(_cell(row[program], step, most) for program in programs),
            *(_ratios(row[program], row[peer], step) for program, peer in pairs),
        )
    peaks = (
        max(cell.peak for (at, _, by), cell in cells.items() if (at, by) == (corpus, program)) for program in programs
    )
    yield _line("memory", *(f"{peak / 1e6:.0f}" for peak in peaks), *("" for _ in pairs))


def _line(*fields: str) -> str:
    return f"| {' | '.join(fields)} |"


def _cell(cell: Cell | None, step: str, most_rounds: int) -> str:
    if cell is None:
        return "-"
    text = f"{_digits(cell.wall)} / {_digits(cell.cpu)}"
    if step in (*SAVING, PROVEN):
        text += f" / {_digits(cell.added / 1e6)}"
    return text + ("*" if cell.rounds < most_rounds else "")


def _ratios(ours: Cell | None, theirs: Cell | None, step: str) -> str:
    if ours is None or theirs is None:
        return "-"
    return " / ".join(f"{ratio:.2f}" for ratio in ours.against(theirs, step).values())


def _digits(value: float) -> str:
    """About three that count: 1482, 89.6, 2.23."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

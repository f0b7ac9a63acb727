"""Runs of rows, column by column, that are sorted by their first column; and many of them as one, in little more memory
than their rows take."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from tasks.numbers import SLICE, Numbers, let_go, numpy, room

Run = list[Numbers]
"""Columns of one length. The first is of 64-bit numbers, such as halves of names, that are spread evenly."""

_YOUNG = 1 << 16
"""Rows from which on columns that grow in place become a sorted run."""


class Growing:
    """Rows that are added, and sorted once they are asked for. `kinds`: of each column the code of its type."""

    def __init__(self, kinds: str) -> None:
        self._kinds = kinds
        self._sorted: Run = [numpy.empty(0, kind) for kind in kinds]
        self._runs: list[Run] = []
        self._added = self._columns()

    def add(self, columns: Sequence[Numbers]) -> None:
        for added, column in zip(self._added, columns, strict=True):
            added.frombytes(column.tobytes())
        if len(self._added[0]) >= _YOUNG:
            self._set_aside()

    def rows(self) -> Run:
        """All of them, as one run. What was given before stays as it is."""
        self._set_aside()
        runs, self._sorted, self._runs = [self._sorted, *self._runs], [], []
        # Where this is broken off, some rows are gone: there is no run then, and the next call fails.
        self._sorted = merged(runs, kept=1)
        return self._sorted

    def _set_aside(self) -> None:
        if self._added[0]:
            self._runs.append(sorted_run([numpy.frombuffer(added, added.typecode) for added in self._added]))
            self._added = self._columns()

    def _columns(self) -> list[array[int]]:
        # Arrays that grow in place, where many small ones would leave the memory full of holes.
        return [array(kind) for kind in self._kinds]


class Column:
    """Numbers that are added, and are one array once they are asked for. `kind`: the code of their type."""

    def __init__(self, kind: str, first: Sequence[int] = ()) -> None:
        self._pieces: list[Numbers] = []
        self._added = array(kind, first)
        self.last = first[-1] if first else 0

    def add(self, numbers: Numbers) -> None:
        if len(numbers):
            self.last = int(numbers[-1])
        self._added.frombytes(numbers.tobytes())
        if len(self._added) >= _YOUNG:
            self._set_aside()

    def numbers(self) -> Numbers:
        """All of them. What was given before stays as it is."""
        self._set_aside()
        made, at = room(sum(map(len, self._pieces)), self._added.typecode), 0
        pieces, self._pieces = self._pieces, []
        while pieces:
            piece = pieces.pop(0)  # and its memory goes
            made[at : at + len(piece)] = piece
            at += len(piece)
        self._pieces = [made]
        return made

    def _set_aside(self) -> None:
        if self._added:
            piece = room(len(self._added), self._added.typecode)
            piece[:] = self._added
            self._pieces.append(piece)
            self._added = array(self._added.typecode)


def sorted_run(columns: Sequence[Numbers]) -> Run:
    """A run of these rows, in arrays of its own. Those that are equal in the first column keep their order."""
    order = numpy.argsort(columns[0], kind="stable")
    made = [room(len(order), column.dtype.str) for column in columns]
    for column, taken in zip(columns, made, strict=True):
        numpy.take(column, order, out=taken)
    return made


def merged(runs: Sequence[Run], *, kept: int = 0) -> Run:
    """Runs as one; of rows that are equal in the first column, those of an earlier run come first. But for the first
    `kept` ones, they are not to be used any more: their memory is given back on the way."""
    filled = [run for run in runs if len(run[0])]
    if len(filled) < 2:
        return (filled or list(runs))[0]
    total = sum(len(run[0]) for run in filled)
    made = [room(total, column.dtype.str) for column in runs[0]]
    steps, begins, at = max(1, total // SLICE), [0] * len(runs), 0
    for step in range(1, steps + 1):
        ends = [_place(run[0], step, steps) for run in runs]
        parts = [slice(*bounds) for bounds in zip(begins, ends, strict=True)]
        order = numpy.argsort(_joined(runs, parts, 0), kind="stable")
        for number, column in enumerate(made):
            column[at : at + len(order)] = _joined(runs, parts, number)[order]
        for run, part in zip(runs[kept:], parts[kept:], strict=True):
            for column in run:
                let_go(column, part)
        begins, at = ends, at + len(order)
    return made


def _place(first: Numbers, step: int, steps: int) -> int:
    """Where those end whose number is in the first `step` of so many equal stretches of all that there can be."""
    return len(first) if step == steps else int(first.searchsorted(numpy.uint64((step << 64) // steps)))


def _joined(runs: Sequence[Run], parts: Sequence[slice], number: int) -> Numbers:
    return numpy.concatenate([run[number][part] for run, part in zip(runs, parts, strict=True)])

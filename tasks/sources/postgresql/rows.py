"""The rows of tables, as `COPY` gives them, streamed by several sessions of one moment.

psql moves them: a session takes a tenth of the processor time that a row by row reading in Python does, and leaves the
interpreter to the engine. Each session reads every n-th table and runs ahead as far as its pipe holds, so the next
tables are there when their turn comes. A line `\\.`, which no row can be, ends each table: without it, what came is
not whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from tasks.content_digest import ContentDigest
from tasks.item import Entry, Reading
from tasks.sources.postgresql.catalogue import Table
from tasks.sources.postgresql.child import Child
from tasks.sources.postgresql.digest import RowSum
from tasks.sources.postgresql.moment import Moment
from tasks.sources.postgresql.programs import Programs

_END = b"\\.\n"
_PIECE = 1 << 20
_NEAR = 1 << 14
_LINE_FEED = 10


class RowReader:
    """Reads the rows of `tables`, which are asked for in this order and one at a time."""

    def __init__(
        self, moment: Moment, programs: Programs, tables: Sequence[Table], *, encoding: str, sessions: int
    ) -> None:
        self._order = {table.full_name: number for number, table in enumerate(tables)}
        self._sessions = [
            _Session(moment, programs, tables[number::sessions], encoding)
            for number in range(max(1, min(sessions, len(tables))) if tables else 0)
        ]

    def rows(self, table: Table) -> TableRows:
        number = self._order[table.full_name]
        return self._sessions[number % len(self._sessions)].rows(table)


class TableRows:
    """The rows of one table, in pieces. `count` is of what was read so far; of all once `piece` gave b""."""

    def __init__(self, session: _Session, table: Table) -> None:
        self.table = table
        self._session = session
        self._sum = None if table.steady else RowSum()
        self.count = 0

    def piece(self) -> bytes:
        """More of it, b"" at its end and nowhere else. Raises what went wrong."""
        piece = self._session.piece()
        self.count += count_lines(piece)
        if self._sum:
            self._sum.add(piece)
        return piece

    @property
    def row_sum(self) -> str:
        """Of the rows in any order; "" for a table whose rows come in the same order everywhere."""
        return self._sum.hex() if self._sum else ""


def digest_of(rows: TableRows) -> str:
    """Reads all of it. The digest of the whole, or of its rows in any order."""
    hasher = ContentDigest()
    while piece := rows.piece():
        hasher.update(piece)
    return rows.row_sum or hasher.hexdigest()


class RowStream:
    """A `Stream` of a table's rows."""

    def __init__(self, rows: TableRows, entry: Entry) -> None:
        self.rows = rows
        self._entry = entry
        self._rest = memoryview(b"")
        self._size = 0

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._rest:
            self._rest = memoryview(self.rows.piece())
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._size += count
        return count

    def close(self) -> Reading:
        return Reading(self._entry._replace(size=self._size))


class _Session:
    """One psql, and what it has printed so far."""

    def __init__(self, moment: Moment, programs: Programs, tables: Sequence[Table], encoding: str) -> None:
        with tempfile.TemporaryFile() as script:
            lines = ["\\set ON_ERROR_STOP 1", *moment.session()]
            for table in tables:
                lines += [table.query(encoding) + ";", r"\echo '\\.'"]
            script.write("\n".join([*lines, "COMMIT;", ""]).encode())
            script.seek(0)
            command = [programs.path("psql"), "--no-psqlrc", "--quiet", "--no-password"]
            command.append(f"--dbname={moment.server.argument}")
            self._child: Child = moment.start(command, doing="can't read the rows", given=script)
        self._waiting = list(reversed(tables))
        self._data, self._at = b"", 0
        self._new_line, self._open = True, False

    def rows(self, table: Table) -> TableRows:
        """The next table, after all of the one before was read."""
        expected = self._waiting.pop()
        if expected != table or self._open:
            raise RuntimeError("the rows of tables are read in their order, and each to its end")
        self._new_line = self._open = True
        self._child.doing = f"{self._child.doing.partition(': can')[0]}: can't read the rows of {table.full_name}"
        return TableRows(self, table)

    def piece(self) -> bytes:
        while self._open:
            data, at = self._data, self._at
            if self._new_line and data.startswith(_END, at):
                self._at, self._open = at + len(_END), False
                break
            end = _find_end(data, at)
            if end >= 0:
                self._at, self._new_line = end, True
                return data[at:end]
            # All but what may be the beginning of the end.
            held = _beginning(data, at, new_line=self._new_line)
            if at < len(data) - held:
                self._at = len(data) - held
                self._new_line = data[self._at - 1 : self._at] == b"\n"
                return data[at : self._at]
            more = self._child.read(_PIECE)
            if not more:
                # It ended well, and yet not with the end of this table.
                raise RuntimeError("psql ended before the rows did")
            self._data, self._at = data[at:] + more, 0
        return b""


def count_lines(piece: bytes) -> int:
    """As `piece.count(b"\\n")`, five times as fast."""
    from tasks.numbers import numpy

    return int(numpy.count_nonzero(numpy.frombuffer(piece, numpy.uint8) == _LINE_FEED))


def _find_end(data: bytes, at: int) -> int:
    """Where the line begins, after another one, that ends a table; -1 if there is none."""
    near = data.find(b"\n" + _END, at, at + _NEAR)
    if near >= 0 or len(data) - at <= _NEAR:
        return near + 1 if near >= 0 else -1
    from tasks.numbers import numpy

    # Of a large table nothing is found, several times as fast.
    start = at + _NEAR - len(_END)
    letters = numpy.frombuffer(data, numpy.uint8)[start:]
    found = (letters[1:-2] == _END[0]) & (letters[2:-1] == _END[1])
    for place in numpy.flatnonzero(found):
        line = start + 1 + int(place)
        if data[line - 1 : line + len(_END)] == b"\n" + _END:
            return line
    return -1


def _beginning(data: bytes, at: int, *, new_line: bool) -> int:
    """How many bytes at the end may be the first of a line that ends the table."""
    for start in (_END[:2], _END[:1]):
        if data.endswith(start, at):
            before = len(data) - len(start)
            if (before == at and new_line) or (before > at and data[before - 1 : before] == b"\n"):
                return len(start)
    return 0

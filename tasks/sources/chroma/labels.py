"""The label of each id in an index, in a private temporary database of SQLite: however many there are, they take no
memory."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from tasks.errors import NoSpace
from tasks.sources.chroma.records import NotWhole

_CACHE = 8192
"""KiB; what is more is in a file without a name, where TMPDIR says."""

_SPARSE = 4
"""As many of which one is asked for are read in a row rather than looked for."""


class Labels:
    """Pairs of an id and its label, in no order. Raises `NotWhole` for ids and labels that SQLite does not hold,
    `NoSpace`."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        try:
            for each in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}"):
                self._database.execute(f"PRAGMA {each}")
            self._database.execute("CREATE TABLE labels (id TEXT NOT NULL, label INTEGER NOT NULL)")
            self._database.execute("BEGIN")
            self._count = self._database.executemany("INSERT INTO labels VALUES (?, ?)", pairs).rowcount
            self._database.execute("CREATE INDEX by_id ON labels (id, label)")
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise NoSpace(f"no room for a table of an index's ids: {error}; free some, or set TMPDIR") from error
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise NotWhole(f"it holds a label or an id that no index has: {type(error).__name__}") from error

    def __len__(self) -> int:
        return max(self._count, 0)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        with closing(self._database.execute("SELECT id, label FROM labels")) as found:
            yield from found

    def __contains__(self, name: str) -> bool:
        return self.find((name,)) != [-1]

    def find(self, names: Sequence[str]) -> list[int]:
        """The label of each; -1 where it has none. Those that are next to each other here come at once."""
        ask, most = self._database.execute, _SPARSE * len(names)
        if len(names) > _SPARSE:
            between = (min(names), max(names), most + 1)
            rows = ask("SELECT id, label FROM labels WHERE id BETWEEN ? AND ? LIMIT ?", between).fetchall()
            if len(rows) <= most:
                known: dict[str, int] = dict(rows)
                return [known.get(name, -1) for name in names]
        found = (ask("SELECT label FROM labels WHERE id = ?", (name,)).fetchone() for name in names)
        return [-1 if row is None else row[0] for row in found]

    def batches(self, size: int) -> Iterator[list[int]]:
        """All labels."""
        with closing(self._database.execute("SELECT label FROM labels")) as found:
            while batch := found.fetchmany(size):
                yield [label for (label,) in batch]

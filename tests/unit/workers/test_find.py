"""What `find` reads, and what it takes for a change."""

from __future__ import annotations

from pathlib import Path

from tasks.destinations import Destination
from tasks.repository import Repository
from tasks.sources.patterns import Patterns
from tests.passing_destination import Passing
from tests.repositories import create, keys, local, save
from workers.cli.find import _found

NIGHTS: tuple[dict[bytes, bytes], ...] = (
    {b"a": b"1", b"b": b"1"},
    {b"a": b"1", b"b": b"2"},
    {b"a": b"1"},
    {b"a": b"3", b"b": b"2"},
    {b"a": b"3", b"b": b"2"},
)


class Counted(Passing):
    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.index_reads = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.index_reads += name.startswith("index/")
        return self._inner.get(name, offset, length)


def found(repository: Repository, *, every: bool = False) -> list[tuple[str, str]]:
    rows = _found([("docs", "here", repository)], Patterns(("*",)), every=every)
    return [(row["snapshot"], row["path"]) for row in rows]


def test_a_path_is_found_where_it_is_new_or_has_changed(tmp_path: Path) -> None:
    repository = create(local(tmp_path))
    ids = [save(repository, files, night).id for night, files in enumerate(NIGHTS)]
    changes = [(0, "a"), (0, "b"), (1, "b"), (3, "a"), (3, "b")]
    assert found(repository) == [(ids[night], path) for night, path in changes]
    assert found(repository, every=True) == [
        (ids[night], path.decode()) for night, files in enumerate(NIGHTS) for path in files
    ]


def test_the_index_of_many_nights_is_read_once(tmp_path: Path) -> None:
    repository = create(local(tmp_path))
    for night in range(6):
        save(repository, {b"a": b"%d" % night}, night)
    counted = Counted(repository.destination)
    assert len(found(Repository.open(counted, keys().reader))) == 6
    assert counted.index_reads == 6

"""What a source offers to read at once is kept as what comes as a stream."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tasks.content_digest import content_digest
from tasks.item import Entry, Item
from tasks.repository import Repository
from tests.memory_source import File, MemoryCapture
from tests.repositories import about, restored, save


class AtOnce(MemoryCapture):
    """Offers its files at once; `refused` are those of which nothing comes of it."""

    def __init__(self, files: dict[bytes, bytes], refused: frozenset[bytes] = frozenset()) -> None:
        super().__init__({path: File(content, want_digest=True) for path, content in files.items()})
        self._contents, self._refused = files, refused
        self.asked: list[bytes] = []

    def __iter__(self) -> Iterator[Item]:
        for item in super().__iter__():
            yield item._replace(at_once=self._at_once)

    def _at_once(self, entry: Entry, buffer: memoryview) -> Entry | None:
        self.asked.append(entry.path)
        content = self._contents[entry.path]
        assert len(buffer) >= 64 << 10
        buffer[: len(content)] = content
        return None if entry.path in self._refused else entry._replace(xattrs=((b"user.a", b"b"),))


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FILES = {b"%03d" % at: noise(at, size) for at, size in enumerate([0, 1, 5000, 64 << 10, (64 << 10) + 1, 3 << 20])}
FILES |= {b"many %03d" % at: noise(at, 30_000) for at in range(300)}
SMALL = [path for path, content in FILES.items() if len(content) <= 64 << 10]


def test_small_items_are_read_at_once_and_come_back(repository: Repository) -> None:
    capture = AtOnce(FILES)
    snapshot = repository.save(capture, about(0), repository.destination)
    assert sorted(capture.asked) == sorted(SMALL)
    assert sorted([*capture.opened, *capture.asked]) == sorted(FILES)
    assert restored(repository, snapshot) == FILES
    assert snapshot.figures["read_bytes"] == snapshot.figures["content_bytes"] == sum(map(len, FILES.values()))
    for item in repository.read(snapshot):
        assert item.entry.digest == content_digest(FILES[item.entry.path])
        assert bool(item.entry.xattrs) == (item.entry.path in SMALL)
    assert repository.check("content").good


def test_what_can_not_be_read_at_once_comes_as_a_stream(repository: Repository) -> None:
    capture = AtOnce(FILES, refused=frozenset(SMALL[::3]))
    snapshot = repository.save(capture, about(0), repository.destination)
    assert sorted(set(FILES) - set(capture.opened)) == sorted(set(SMALL) - set(SMALL[::3]))
    assert restored(repository, snapshot) == FILES


def test_it_makes_the_same_chunks(repository: Repository) -> None:
    save(repository, {path: File(content, want_digest=True) for path, content in FILES.items()}, 0)
    capture = AtOnce({b"again/" + path: content for path, content in FILES.items()})
    snapshot = repository.save(capture, about(1), repository.destination)
    assert snapshot.figures["new_bytes"] == 0

"""Run as a program by test_memory.py: captures something large, and may copy, check, prune and read it; prints the peak
of its memory, in bytes.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from tasks.destinations import Data, Destination, Listed
from tasks.item import FILE, Entry, Flaw, Item, Reading, Stored, Stream, Unreadable
from tasks.repository import Repository, Snapshot
from tests.repositories import START, about, create, keys, local

MIB = 1 << 20
PAGE = 4096


class Forgetful:
    """A destination that keeps of a content pack only that it is there: three gigabytes need not be stored twice."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner
        self._sizes: dict[str, int] = {}

    def put(self, name: str, data: Data) -> None:
        if isinstance(data, Path) and _kind(data) == b"D":
            self._sizes[name] = data.stat().st_size
        else:
            self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        kept = [Listed(name, size) for name, size in self._sizes.items() if name.startswith(prefix)]
        return iter(sorted([*kept, *self._inner.list(prefix)]))

    def delete(self, name: str) -> None:
        self._inner.delete(name)


def _peak() -> int:
    """The high-water mark of this program's own memory; `ru_maxrss` would count the parent's before the exec, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _kind(pack: Path) -> bytes:
    with pack.open("rb") as file:
        return file.read(5)[4:]


class Noise:
    """A stream of `size` bytes of which no page comes twice."""

    def __init__(self, entry: Entry, base: bytes) -> None:
        self._entry, self._base, self._at = entry, base, 0

    def readinto(self, buffer: memoryview, /) -> int:
        start = self._at % len(self._base)
        count = min(len(buffer), self._entry.size - self._at, len(self._base) - start)
        buffer[:count] = self._base[start : start + count]
        for page in range(-self._at % PAGE, count - 8, PAGE):
            buffer[page : page + 8] = (self._at + page).to_bytes(8, "little")
        self._at += count
        return count

    def close(self) -> Reading:
        return Reading(self._entry)


class Tiny:
    """A stream of its own path, three times."""

    def __init__(self, entry: Entry) -> None:
        self._entry, self._rest = entry, entry.path * 3

    def readinto(self, buffer: memoryview, /) -> int:
        content, self._rest = self._rest, b""
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> Reading:
        return Reading(self._entry)


class Generated:
    """A capture whose items are made as they are asked for."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[Item]:
        return self._items

    def stored(self, item: Stored) -> None:
        self.count += 1

    def flaws(self) -> list[Flaw]:
        return []

    def facts(self) -> dict[str, int]:
        return {"items": self.count}


def stream(megabytes: int) -> Iterator[Item]:
    base = random.Random(1).randbytes(8 * MIB)
    entry = Entry(b"stream", FILE, size=megabytes * MIB, version=(1, 1))
    yield Item(entry, lambda: Noise(entry, base))


def tiny(thousands: int) -> Iterator[Item]:
    for number in range(thousands * 1000):
        path = b"folder-%04d/file-%08d" % (number // 500, number)
        entry = Entry(path, FILE, 0o644, 1000, 1000, "user", "group", number, 3 * len(path), (number + 1, number))
        yield Item(entry, partial(Tiny, entry))


def refused(thousands: int) -> Iterator[Item]:
    """None of which may be read."""

    def refuse() -> Stream:
        raise Unreadable("Permission denied")

    return (item._replace(open=refuse) for item in tiny(thousands))


class Nowhere:
    """A sink."""

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        pass

    def complete(self, item: Stored) -> None:
        pass


def go_on(repository: Repository, snapshot: Snapshot, folder: Path) -> None:
    """All that comes after a capture."""
    create(local(folder))
    second = Repository.open(local(folder), keys().reader)
    repository.copy(snapshot.id, second)
    assert second.check("content").good
    second.plan_prune((), START + timedelta(days=5), timedelta(days=3)).apply()
    items = second.read(snapshot)
    items.extract(items, Nowhere())


def main() -> None:
    what, amount, nights, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    create(local(folder))
    destination = local(folder) if "all" in sys.argv[5:] else Forgetful(local(folder))
    repository = Repository.open(destination, create(local(folder)).writer)
    figures: dict[str, float] = {}
    for night in range(nights):
        capture = Generated({"stream": stream, "tiny": tiny, "refused": refused}[what](amount))
        snapshot = repository.save(capture, about(night), destination, scratch=folder)
        figures = snapshot.figures
        if "all" in sys.argv[5:]:
            go_on(repository, snapshot, folder / "second")
    print(json.dumps(figures | {"peak": _peak()}))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()

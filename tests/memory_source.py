"""A source that lives in memory: files by path, streams that can fail, and a sink that notes every byte it is given."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from tasks.errors import Damaged
from tasks.item import FILE, FOLDER, Entry, Facts, Flaw, Item, Reading, Stored

MTIME = 1_700_000_000_123_456_789


@dataclass(frozen=True)
class File:
    """`entry` overrides what follows from the content. `generate(offset, length)` stands in for content that is too
    long to hold. After `fails_at` bytes, reading raises `failure`; `refuses` is raised by opening. At the end `grown`
    more bytes are found than were listed, and `flaw` is what the stream says of itself."""

    content: bytes = b""
    entry: Mapping[str, object] = field(default_factory=dict)
    generate: Callable[[int, int], bytes] | None = None
    size: int = -1
    fails_at: int | None = None
    failure: Exception | None = None
    refuses: Exception | None = None
    grown: bytes = b""
    flaw: str = ""
    cut: str = ""
    want_digest: bool = False
    columns: tuple[int, ...] = ()
    expected: int = 0
    at_most: int = 1 << 62
    """Bytes that one `readinto` gives: a pipe gives few."""

    def listed(self, path: bytes) -> Entry:
        length = self.size if self.size >= 0 else len(self.content)
        entry = Entry(path, FILE, 0o640, mtime_ns=MTIME, size=length, version=(zlib.crc32(self.content) + 1, length))
        return entry._replace(**self.entry)  # type: ignore[arg-type]  # any field


class MemoryCapture:
    """One pass over files by path; folders are listed before what they hold. `opened` lists the paths that were read.
    `before` is called with each path before it is listed."""

    def __init__(
        self,
        files: Mapping[bytes, File | bytes],
        *,
        flaws: tuple[Flaw, ...] = (),
        before: Callable[[bytes], None] | None = None,
    ) -> None:
        self._files = {path: File(each) if isinstance(each, bytes) else each for path, each in files.items()}
        self._flaws, self._before = flaws, before
        self.opened: list[bytes] = []
        self.kept: list[Stored] = []

    def __iter__(self) -> Iterator[Item]:
        for path in sorted(self._files, key=lambda each: each.split(b"/")):
            if self._before:
                self._before(path)
            file = self._files[path]
            entry = file.listed(path)
            opening = partial(self._open, path, file, entry) if entry.type == FILE else None
            yield Item(entry, opening, file.cut, file.want_digest, file.columns, expected=file.expected)

    def _open(self, path: bytes, file: File, entry: Entry) -> MemoryStream:
        self.opened.append(path)
        if file.refuses:
            raise file.refuses
        return MemoryStream(file, entry)

    def stored(self, item: Stored) -> None:
        self.kept.append(item)

    def flaws(self) -> tuple[Flaw, ...]:
        return self._flaws

    def facts(self) -> Facts:
        return {"items": len(self.kept)}


class MemoryStream:
    def __init__(self, file: File, entry: Entry) -> None:
        self._file, self._entry, self._at = file, entry, 0
        whole = file.content + file.grown
        self._piece = file.generate or (lambda offset, length: whole[offset : offset + length])
        self._end = file.size if file.generate else len(whole)
        self.closed = 0

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), self._end - self._at, self._file.at_most)
        if self._file.fails_at is not None:
            count = min(count, self._file.fails_at - self._at)
            if not count:
                assert self._file.failure is not None
                raise self._file.failure
        buffer[:count] = self._piece(self._at, count)
        self._at += count
        return count

    def close(self) -> Reading:
        self.closed += 1
        return Reading(self._entry, self._file.flaw)


class MemorySink:
    """Notes what it is given, and objects to a byte that comes twice, not at all, or outside its item."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: dict[bytes, list[tuple[int, bytes]]] = {}
        self.contents: dict[bytes, bytes] = {}

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        with self._lock:
            assert item.entry.path not in self.contents, "written after it was complete"
            self._written.setdefault(item.entry.path, []).append((offset, bytes(data)))

    def complete(self, item: Stored) -> None:
        with self._lock:
            assert item.entry.path not in self.contents, "complete twice"
            runs = sorted(self._written.pop(item.entry.path, []))
            ends = [0, *(offset + len(data) for offset, data in runs)]
            assert [offset for offset, _ in runs] == ends[:-1], "bytes are missing, or came twice"
            assert ends[-1] == item.entry.content_size
            self.contents[item.entry.path] = b"".join(data for _, data in runs)


class ForgivingSink(MemorySink):
    """Does without items that are damaged, and notes why."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[bytes, str] = {}

    def lost(self, item: Stored, error: Exception) -> None:
        assert isinstance(error, Damaged)
        self.missing.setdefault(item.entry.path, str(error))


def tree(files: Mapping[bytes, bytes]) -> dict[bytes, File | bytes]:
    """The files, and the folders they lie in."""
    folders = {path[:at] for path in files for at, byte in enumerate(path) if byte == ord("/")}
    listed: dict[bytes, File | bytes] = {path: File(entry={"type": FOLDER, "size": 0}) for path in folders}
    return listed | dict(files)


def contents(files: Mapping[bytes, File | bytes]) -> dict[bytes, bytes]:
    """What a restore must give back."""
    plain = {path: each if isinstance(each, bytes) else each.content for path, each in files.items()}
    return {path: each for path, each in plain.items() if not _is_other(files[path])}


def _is_other(file: File | bytes) -> bool:
    return isinstance(file, File) and file.entry.get("type", FILE) != FILE


def changed(file: File | bytes, content: bytes) -> File:
    return replace(File(file) if isinstance(file, bytes) else file, content=content)

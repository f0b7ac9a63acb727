"""A repository's whole history as one stream that every git reads: gitformat-bundle(5), and how it is ordered here.

git keeps differences between files, and chooses them anew at every repack: the same history, packed again, has hardly a
byte in common with itself. So here each object is whole, and all versions of a path lie together, the oldest first: what
is new stands at the end of its path, the rest stays as it was, and the repository's own compression finds what versions
share. `tests/benchmarks/git_bundles.py` measures it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from tasks.errors import Damaged
from tasks.item import Entry, Reading, Stream, Unreadable
from tasks.sources.git import Git, GitFailed, Input, Output
from tasks.sources.git_reflection import Reflection

CUT = "c64"
WHOLE_LIMIT = 4 << 30
"""Bytes of all objects above which git's own differences are kept: more would be stored, but less must be read."""

_HEADS = {"sha1": b"# v2 git bundle\n", "sha256": b"# v3 git bundle\n@object-format=sha256\n"}
_PACK = ("pack-objects", "--stdout", "-q", "--threads=1", "--window=0", "--compression=0", "--no-use-bitmap-index")
_BUFFER = 1 << 20
_LONGEST_LINE = 1 << 16


class BundleHead(NamedTuple):
    """What a bundle says before its pack."""

    object_format: str
    named: dict[bytes, bytes]


class BundleStream:
    """A `Stream` of a bundle with the references `named`, and all that `tips` reach. Raises `Unreadable` wherever git
    fails, so it never ends early."""

    def __init__(
        self, reflection: Reflection, entry: Entry, head: BundleHead, tips: list[bytes], *, limit: int = WHOLE_LIMIT
    ) -> None:
        self._entry = entry
        self._size = 0
        lines = [b"%s %s\n" % (value, name) for name, value in sorted(head.named.items())]
        self._start = memoryview(b"".join([_HEADS[head.object_format], *lines, b"\n"]))
        try:
            self._pack = _packing(reflection, tips, limit)
        except GitFailed as error:
            raise Unreadable(str(error)) from error

    def readinto(self, buffer: memoryview, /) -> int:
        if self._start:
            count = min(len(buffer), len(self._start))
            buffer[:count] = self._start[:count]
            self._start = self._start[count:]
        else:
            try:
                count = self._pack.readinto(buffer)
            except GitFailed as error:
                raise Unreadable(str(error)) from error
        self._size += count
        return count

    def close(self) -> Reading:
        self._pack.stop_all()
        return Reading(self._entry._replace(size=self._size))


def count_objects(reflection: Reflection, tips: list[bytes]) -> int:
    """How many objects `tips` reach. Raises `GitFailed` where one is missing that nobody promised."""
    if not tips:
        return 0
    return int(reflection.git.run(*_LIST, "--count", "--stdin", given=_lines(tips)))


def _packing(reflection: Reflection, tips: list[bytes], limit: int) -> Output:
    git, given = reflection.git, reflection.path(b"objects")
    whole = _write_order(git, tips, given, limit)
    if not whole:
        with open(given, "wb") as file:
            file.write(_lines(tips))
    options = ("--no-reuse-object",) if whole else ("--revs", "--missing=allow-promisor")
    with open(given, "rb") as file:
        return git.start(*_PACK, *options, given=file)


def _write_order(git: Git, tips: list[bytes], into: bytes, limit: int) -> bool:
    """Writes the name of every object in the order in which they are to be packed; False if they are too much."""
    paths: dict[bytes, list[bytes]] = {}
    total = 0
    with open(into, "wb") as file:
        file.write(_lines(tips))
    with open(into, "rb") as file:
        listed = git.start(*_LIST, "--stdin", given=file)
    objects = git.start("cat-file", "--batch-check=%(objectname) %(objectsize) %(rest)", given=listed)
    for line in objects.records(b"\n"):
        name, size, path = line.split(b" ", 2)
        total += int(size)
        if total > limit:
            return False
        paths.setdefault(path, []).append(bytes.fromhex(name.decode()))
    with open(into, "wb") as file:
        for path in sorted(paths):
            file.writelines(name.hex().encode() + b"\n" for name in reversed(paths[path]))
    return True


def _lines(tips: list[bytes]) -> bytes:
    return b"".join(tip + b"\n" for tip in tips)


def unpack(stream: Stream, into: Git, *, partial: bool) -> BundleHead:
    """Puts a bundle's objects into a repository, and tells its references. Raises `Damaged`, `GitFailed`."""
    buffer = memoryview(bytearray(_BUFFER))
    filled = 0
    while b"\n\n" not in bytes(buffer[:filled]):

"""A repository's whole history as one stream that every git reads: gitformat-bundle(5), and how it is ordered here.

git keeps differences between files, and chooses them anew at every repack: the same history, packed again, has hardly
a byte in common with itself. So here each object is whole, and all versions of a path lie together, the oldest first:
what is new stands at the end of its path, the rest stays as it was, and the repository's own compression finds what
versions share. `tests/benchmarks/git_bundles.py` measures what that is worth.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import closing
from typing import NamedTuple

from tasks.errors import Damaged
from tasks.item import Entry, Reading, Stream, Unreadable
from tasks.sources.git.command import Git, GitFailed, Output
from tasks.sources.git.reflection import Reflection

CUT = "c64"
WHOLE_LIMIT = 4 << 30
"""Bytes of all objects above which git's own differences are kept: more would be stored, but less must be read."""

_HEADS = {"sha1": b"# v2 git bundle\n", "sha256": b"# v3 git bundle\n@object-format=sha256\n"}
_PACK = ("pack-objects", "--stdout", "-q", "--threads=1", "--window=0", "--compression=0", "--no-use-bitmap-index")
_LIST = ("rev-list", "--objects", "--missing=allow-promisor")
_BUFFER = 1 << 20
_LONGEST_HEAD = 1 << 28


class BundleHead(NamedTuple):
    """What a bundle says before its pack; `needs` are commits of others without which it is nothing."""

    object_format: str
    named: dict[bytes, bytes]
    needs: tuple[bytes, ...] = ()


class BundleStream:
    """A `Stream` of a bundle with the references `named`, and all that `tips` reach but what `needs` do. Raises
    `Unreadable` wherever git fails, so it never ends early."""

    def __init__(self, reflection: Reflection, entry: Entry, head: BundleHead, tips: list[bytes]) -> None:
        self._entry = entry
        self._reflection = reflection
        self._size = 0
        needs = [b"-%s \n" % commit for commit in head.needs]
        lines = [b"%s %s\n" % (value, name) for name, value in sorted(head.named.items())]
        self._start = memoryview(b"".join([_HEADS[head.object_format], *needs, *lines, b"\n"]))
        try:
            self._pack = _packing(reflection, [*tips, *(b"^" + commit for commit in head.needs)])
        except (GitFailed, OSError) as error:
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


def _packing(reflection: Reflection, tips: list[bytes]) -> Output:
    git, given = reflection.git, reflection.path(b"write-order")
    whole = _write_order(git, tips, given)
    if not whole:
        with open(given, "wb") as file:
            file.write(_lines(tips))
    options = ("--no-reuse-object",) if whole else ("--revs", "--missing=allow-promisor")
    with open(given, "rb") as file:
        return git.start(*_PACK, *options, given=file)


def _write_order(git: Git, tips: list[bytes], into: bytes) -> bool:
    """Writes the name of every object in the order in which they are to be packed; False if they are too much."""
    paths: dict[bytes, bytearray] = {}
    total, width = 0, len(tips[0]) // 2  # the first is none of those to be left out
    with open(into, "wb") as file:
        file.write(_lines(tips))
    with open(into, "rb") as file:
        listed = git.start(*_LIST, "--stdin", given=file)
    objects = git.start("cat-file", "--batch-check=%(objectname) %(objectsize) %(rest)", given=listed)
    with closing(objects.records(b"\n")) as lines:
        for line in lines:
            name, _, about = line.partition(b" ")
            size, _, path = about.partition(b" ")
            if not size.isdigit():
                raise GitFailed(f"object {name.decode()} is missing or damaged: see `git fsck`")
            total += int(size)
            if total > WHOLE_LIMIT:
                return False
            paths.setdefault(path, bytearray()).extend(bytes.fromhex(name.decode()))
    with open(into, "wb") as file:
        for path in sorted(paths):
            names = paths[path]
            starts = range(len(names) - width, -1, -width)
            file.writelines(names[at : at + width].hex().encode() + b"\n" for at in starts)
    return True


def _lines(tips: list[bytes]) -> bytes:
    return b"".join(tip + b"\n" for tip in tips)


def unpack(stream: Stream, into: Git, *, partial: bool, known: Collection[bytes] = ()) -> BundleHead:
    """Puts a bundle's objects into a repository, and tells its references. It may need none but the `known` commits.
    Raises `Damaged`, `GitFailed`."""
    buffer, start = memoryview(bytearray(_BUFFER)), bytearray()
    end = -1
    while end < 0:
        count = stream.readinto(buffer)
        if not count or len(start) > _LONGEST_HEAD:
            raise Damaged("the bundle of a repository has no end of its head: it is not one, or damaged")
        before = max(len(start) - 1, 0)
        start += buffer[:count]
        end = start.find(b"\n\n", before)
    head = _head(bytes(start[:end]))
    if not set(head.needs) <= set(known):
        raise Damaged("the bundle of a repository needs something that it does not hold")
    packed = into.feed("index-pack", "--stdin", *(["--promisor"] if partial else []))
    try:
        packed.write(memoryview(start)[end + 2 :])
        while count := stream.readinto(buffer):
            packed.write(buffer[:count])
        packed.finish()
    finally:
        packed.stop()
    return head


def _head(text: bytes) -> BundleHead:
    first, *lines = text.split(b"\n")
    object_format = "sha1"
    named, needs = {}, list[bytes]()
    for line in lines:
        key, _, value = line.partition(b" ")
        if line.startswith(b"@object-format="):
            object_format = line.partition(b"=")[2].decode("ascii", "replace")
        elif re.fullmatch(rb"[0-9a-f]{40,64}", key):
            named[value] = key
        elif re.fullmatch(rb"-[0-9a-f]{40,64}", key):
            needs.append(key[1:])
        else:
            raise Damaged("the bundle of a repository says what git does not")
    if not re.fullmatch(rb"# v[23] git bundle", first):
        raise Damaged("what should be the bundle of a repository is not one")
    return BundleHead(object_format, named, tuple(needs))

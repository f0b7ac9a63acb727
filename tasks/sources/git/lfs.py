"""Git LFS: small files in the history that stand for large ones kept elsewhere. Its pointer format is
<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from tasks.sources.git.reflection import Reflection

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_LONGEST = 1024


class Pointer(NamedTuple):
    """`path` stands for a file of `size` bytes, whose SHA-256 is `name`."""

    path: bytes
    name: str
    size: int

    def object_in(self, common: bytes) -> bytes:
        """Where git-lfs keeps the file, if it was fetched."""
        return os.path.join(common, *map(os.fsencode, ("lfs", "objects", self.name[:2], self.name[2:4], self.name)))


def read_pointers(reflection: Reflection, filtered: dict[bytes, bytes]) -> list[Pointer]:
    """The pointers in the index, by path; `filtered` are the paths that have a filter. Raises `GitFailed`."""
    git, blobs = reflection.git, dict[bytes, bytes]()
    if b"lfs" not in filtered.values():
        return []
    for record in git.records("ls-files", "--stage", "-z"):
        information, _, path = record.partition(b"\t")
        if filtered.get(path) == b"lfs":
            blobs[path] = information.split(b" ")[1]
    given = b"".join(name + b"\n" for name in sorted(set(blobs.values())))
    sizes = git.run("cat-file", "--batch-check=%(objectname) %(objectsize)", given=given).splitlines()
    small = [name for name, size in (line.split(b" ") for line in sizes) if size.isdigit() and int(size) <= _LONGEST]
    found: dict[bytes, tuple[str, int]] = {}
    rest = git.run("cat-file", "--batch", given=b"".join(name + b"\n" for name in small))
    while rest:
        information, _, rest = rest.partition(b"\n")
        name, _, size = information.split(b" ")
        content, rest = rest[: int(size)], rest[int(size) + 1 :]
        if match := _POINTER.match(content):
            found[name] = match[1].decode(), int(match[2])
    return [Pointer(path, *found[name]) for path, name in sorted(blobs.items()) if name in found]

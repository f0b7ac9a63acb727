"""What a folder holds, down to each byte, mode and time: so that a restore can be compared with what was saved."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3


class Node(NamedTuple):
    """`content` is a file's BLAKE3 or a symbolic link's target; a folder's `size`, its file system's, is 0."""

    mode: int
    mtime_ns: int
    size: int
    content: bytes


Tree = dict[str, Node]


def look(folder: Path) -> Tree:
    """Everything below `folder`, not the folder itself."""
    found: list[tuple[str, str, os.stat_result]] = []
    queue = [""]
    while queue:
        inside = queue.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                path = f"{inside}/{entry.name}" if inside else entry.name
                found.append((path, entry.path, entry.stat(follow_symlinks=False)))
                if entry.is_dir(follow_symlinks=False):
                    queue.append(path)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        nodes = threads.map(_node, found, chunksize=256)
        return {path: node for (path, _, _), node in zip(found, nodes, strict=True)}


def differences(saved: Tree, restored: Tree, whole_times: bool = True, at_most: int = 5) -> list[str]:
    """What is not as it was, a line each. `whole_times` False compares times to the microsecond, which is all that
    Python's tarfile keeps."""
    lines = [f"missing: {path}" for path in sorted(saved.keys() - restored.keys())]
    lines += [f"not in what was saved: {path}" for path in sorted(restored.keys() - saved.keys())]
    slack = 0 if whole_times else 1000
    for path in sorted(saved.keys() & restored.keys()):
        before, after = saved[path], restored[path]
        if before != after and (
            before._replace(mtime_ns=0) != after._replace(mtime_ns=0) or abs(before.mtime_ns - after.mtime_ns) > slack
        ):
            names = [name for name, a, b in zip(Node._fields, before, after, strict=True) if a != b]
            lines.append(f"different {', '.join(names)}: {path}")
    more = len(lines) - at_most
    return [*lines[:at_most], f"and {more} more"] if more > 0 else lines


def _node(found: tuple[str, str, os.stat_result]) -> Node:
    _, path, facts = found
    if stat.S_ISREG(facts.st_mode):
        if facts.st_size > 16_000_000:
            content = blake3().update_mmap(path).digest()
        else:
            with open(path, "rb") as file:
                content = blake3(file.read()).digest()
        return Node(facts.st_mode, facts.st_mtime_ns, facts.st_size, content)
    if stat.S_ISLNK(facts.st_mode):
        return Node(facts.st_mode, facts.st_mtime_ns, facts.st_size, os.fsencode(os.readlink(path)))
    return Node(facts.st_mode, facts.st_mtime_ns, 0, b"")

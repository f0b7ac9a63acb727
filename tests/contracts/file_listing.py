"""Everything about a tree of files, told by other means than the code under test."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any


def listing(folder: Path) -> dict[bytes, dict[str, Any]]:
    """Path below `folder` -> what is there: type, mode, owner, time, link, attributes, content, names of one file.

    Goes down and up by single names, as a path may be longer than the kernel takes.
    """
    found: dict[bytes, dict[str, Any]] = {}
    numbers: dict[int, bytes] = {}
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        stack = [(b"", sorted(os.fsencode(name) for name in os.listdir(here)))]
        while stack:
            prefix, names = stack[-1]
            if not names:
                stack.pop()
                here = _go(here, b"..") if stack else here
                continue
            name = names.pop(0)
            found[prefix + name] = _one(here, name, prefix + name, numbers)
            if found[prefix + name]["type"] == stat.S_IFDIR:
                here = _go(here, name)
                stack.append((prefix + name + b"/", sorted(os.fsencode(each) for each in os.listdir(here))))
    finally:
        os.close(here)
    return found


def _go(here: int, name: bytes) -> int:
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def _one(folder: int, name: bytes, path: bytes, numbers: dict[int, bytes]) -> dict[str, Any]:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    told: dict[str, Any] = {
        "type": kind,
        "mode": stat.S_IMODE(status.st_mode),
        "owner": (status.st_uid, status.st_gid),
        "mtime_ns": status.st_mtime_ns,
    }
    if kind == stat.S_IFLNK:
        told["link"] = os.readlink(name, dir_fd=folder)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        opened = os.open(name, os.O_RDONLY, dir_fd=folder)
        try:
            told["attributes"] = {each: os.getxattr(opened, each) for each in os.listxattr(opened)}
            if kind == stat.S_IFREG:
                told["size"] = status.st_size
                told["content"] = _digest(opened)
                told["same file as"] = numbers.setdefault(status.st_ino, path)
        finally:
            os.close(opened)
    return told


def _digest(descriptor: int) -> str:
    digest = hashlib.sha256()
    while data := os.read(descriptor, 1 << 20):
        digest.update(data)
    return digest.hexdigest()

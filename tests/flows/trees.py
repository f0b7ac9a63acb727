"""Folders with something in them, and what is compared of them after a restore."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Any


def grow(root: Path, *, seed: int = 1, files: int = 30, large: int = 0) -> Path:
    """Small texts, an empty file, folders, links, odd modes and times; `large` bytes of noise in files of 8 MB."""
    dice = random.Random(seed)
    for number in range(files):
        path = root / f"team{number % 3}" / f"part{number % 5}" / f"file {number}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"number = {number}\n".encode() + dice.randbytes(dice.randrange(3000)))
        path.chmod(dice.choice([0o644, 0o600, 0o755, 0o444]))
    (root / "empty.toml").touch()
    (root / "empty folder").mkdir()
    (root / "link").symlink_to("team0/part0")
    os.link(root / "empty.toml", root / "same.toml")
    (root / os.fsdecode(b"no \xff utf-8.toml")).write_text("odd")
    for number in range(-(-large // 8_000_000)):
        (root / f"weights{number}.bin").write_bytes(dice.randbytes(min(8_000_000, large - number * 8_000_000)))
    for path in sorted(root.rglob("*")):
        if not path.is_symlink() and path.is_file():
            os.utime(path, ns=(dice.randrange(2**60), dice.randrange(2**60)))
    return root


def state_of(root: Path) -> dict[str, Any]:
    """By relative path: type, mode, owner, time in ns, and bytes or the link's target; and what is hard-linked."""
    found: dict[str, Any] = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    for path in sorted(root.rglob("*")):
        name, about = os.fsencode(path.relative_to(root)).decode("latin-1"), path.lstat()
        kind = stat.S_IFMT(about.st_mode)
        content: Any = None
        if kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind == stat.S_IFREG:
            content = path.read_bytes()
            inodes.setdefault((about.st_dev, about.st_ino), []).append(name)
        found[name] = (kind, stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid, about.st_mtime_ns, content)
    found["hard links"] = sorted(names for names in inodes.values() if len(names) > 1)
    return found

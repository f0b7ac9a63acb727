"""The places that a source of files takes its items from, each under one name at the top of its snapshots."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from tasks.errors import SourceError
from tasks.model import Model


def _single_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError("a name in the snapshot is one word without `/`, such as `config`")
    return name


SingleName = Annotated[str, AfterValidator(_single_name)]


class NamedPath(Model):
    """A folder or file that is to have another name in the snapshot than its own."""

    path: Path
    """The folder or file."""

    name: SingleName
    """Its name in the snapshot."""


def named_roots(entries: Iterable[Path | NamedPath]) -> dict[str, str]:
    """Each name, and the absolute path. A repository named by its `.git` has its working tree's name. Raises
    `SourceError` where two would have one name."""
    roots: dict[str, str] = {}
    for entry in entries:
        path = os.path.abspath(entry.path if isinstance(entry, NamedPath) else entry)
        name = entry.name if isinstance(entry, NamedPath) else os.path.basename(path)
        if name == ".git":
            name = os.path.basename(os.path.dirname(path))
        if not name:
            raise SourceError(f'`{path}` has no name of its own; write it as {{ path = "{path}", name = "root" }}')
        if name in roots:
            raise SourceError(
                f"`{roots[name]}` and `{path}` would both be `{name}` in the snapshot; write one of them as"
                f' {{ path = "{path}", name = "{name}-2" }}'
            )
        roots[name] = path
    return roots

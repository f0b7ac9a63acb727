"""Whose the private broker is: two configurations with one `state` folder would run each other's backups, each with its
own idea of what a source is."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from tasks.errors import SettingsError

_NAME = "configuration"
"""In its folder: the path of the one that uses it, or did last."""


def claim(folder: Path, file: Path, *, alone: bool) -> None:
    """For the configuration `file`, which is `alone` if nobody else uses the broker now. Raises `SettingsError` where
    another one does; one that did is told of on standard error. A file that is gone was moved, and one of the same
    content is the same seen elsewhere, as a container does."""
    owner, file = folder / _NAME, file.absolute()
    other = _another(owner, file)
    if other and not alone:
        raise SettingsError(
            f"`{other}` has the state folder `{folder.parent}` as well, and is running: they would run each other's"
            f" backups; give `{file}` a `state` of its own"
        )
    if other:
        sys.stderr.write(
            f"The state folder `{folder.parent}` was that of `{other}` last: what that has left undone would be done as"
            f" `{file}` says. Give each a `state` of its own.\n"
        )
    if alone:
        with suppress(OSError):  # a full disk: then nobody is warned
            owner.write_text(f"{file}\n", encoding="utf-8", errors="surrogateescape")


def _another(owner: Path, file: Path) -> Path | None:
    """The configuration that is named there, if it is another one than this."""
    with suppress(OSError, ValueError):
        other = Path(owner.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n"))
        if other.is_absolute() and other != file and other.read_bytes() != file.read_bytes():
            return other
    return None

"""Which of this host's processes go by a backup.toml that was changed since: each reads it once, when it begins."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from tasks.configuration import find
from tasks.installation import current
from tasks.settings import Settings

_held: list[IO[str]] = []
"""Open as long as this process lives, and locked: a kill releases that."""


def note(name: str) -> None:
    """This process has read its backup.toml just now, and goes by it until it ends."""
    with suppress(OSError):  # a full disk: then nobody is told
        file, folder = find().absolute(), _folder(current().settings)
        list(_living(folder))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        draft = place.with_name(f".{place.name}")
        _held.append(draft.open("x", encoding="utf-8"))
        fcntl.flock(_held[-1], fcntl.LOCK_EX)
        json.dump({"name": name, "file": str(file), "read": _digest(file)}, _held[-1])
        _held[-1].flush()
        draft.rename(place)  # only now: who finds it unlocked takes it away


class Outdated(NamedTuple):
    """That there are some: for a person."""

    says: str
    advice: str = "restart `serve`, or these workers, beat and Flower"


def outdated(settings: Settings) -> Outdated | None:
    """Whether there are any whose backup.toml is another one by now."""
    found = []
    for place in _living(_folder(settings)):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(place.read_bytes())
            if _digest(Path(told["file"])) != told["read"]:
                found.append(str(told["name"]))
    if not found:
        return None
    return Outdated(f"{', '.join(sorted(found))} began before backup.toml was changed, and go by what it was")


def _folder(settings: Settings) -> Path:
    return settings.state / "processes"


def _digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


def _living(folder: Path) -> Iterator[Path]:
    """What processes that have ended left goes. What another user's have is not seen."""
    places = list[Path]()
    with suppress(OSError):
        places = sorted(folder.glob("[!.]*"))
    for place in places:
        with suppress(OSError), place.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield place
            else:
                place.unlink(missing_ok=True)

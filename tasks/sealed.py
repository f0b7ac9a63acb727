"""What a finished capture notes of itself in the spool: which attempt of its run counts, and what it came to."""

from __future__ import annotations

import errno
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import BackupError, Damaged, NoSpace, Refused, Unavailable

_FILE = "sealed.json"
_SPOILT = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EIO)
"""What reading it again will not mend."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished capture in the spool. `reference` names the destination that holds what it relies on and did not
    store again; `outcome` is the capture's, as JSON; `folder` is the attempt that counts."""

    source: str
    run: str
    snapshot: str
    reference: str
    outcome: dict[str, Any]
    folder: Path


def write_sealed(attempt: Path, snapshot: str, reference: str, outcome: dict[str, Any]) -> None:
    """In the folder of the attempt's run, once: what another attempt wrote before stays. Raises `OSError`."""
    folder = attempt.parent
    content = {"attempt": attempt.name, "snapshot": snapshot, "reference": reference, "outcome": outcome}
    draft = folder / f"draft-{secrets.token_hex(6)}"
    with draft.open("x", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, folder / _FILE)  # unlike a rename, it never replaces
    draft.unlink()
    _sync(folder)


def read_sealed(folder: Path) -> Sealed | None:
    """Of a run's folder. Raises `Damaged` where it is not what `write_sealed` left there, `Refused` where this user may
    not read it, `Unavailable`."""
    path = folder / _FILE
    try:
        content: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Refused(
            f"`{path}` can't be read ({error.strerror}), so that what lies beside it reaches no destination: give"
            f" `{folder.parent}` to the user who backs up, or back up `{folder.parent.name}` again, then remove"
            f" `{folder}`"
        ) from error
    except OSError as error:
        if error.errno not in _SPOILT:
            raise translated(error, folder) from error
        content = None
    except (ValueError, RecursionError):
        content = None
    match content:
        case {"attempt": str(name), "snapshot": str(snapshot), "reference": str(reference), "outcome": dict(outcome)}:
            if name.startswith("attempt-") and name == Path(name).name:
                return Sealed(folder.parent.name, folder.name, snapshot, reference, outcome, folder / name)
    raise Damaged(
        f"`{path}` is not what a capture wrote there, so that what lies beside it reaches no destination:"
        f" back up `{folder.parent.name}` again, then remove `{folder}`"
    )


def translated(error: OSError, folder: Path) -> BackupError:
    """What the spool's disk refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"the disk of the spool `{folder}` is full: free some space, or point `state` to a larger disk")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return Unavailable(f"the spool `{folder}` can't be used: it is no folder, nor a link to one that is there")
    return Unavailable(f"the spool `{folder}` can't be used: {error.strerror}")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

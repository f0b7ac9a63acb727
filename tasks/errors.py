"""What can go wrong, in one tree. Each error is one clear line that says what failed, where, and what to do next.

SDK and operating-system exceptions are translated into these in the one file that talks to that product.
"""

from __future__ import annotations


class BackupError(Exception):
    """The root. `str(error)` is one line for a person; `kind` is a stable word for scripts and reports."""

    exit_code = 1

    @property
    def kind(self) -> str:
        return type(self).__name__


class Unavailable(BackupError):
    """Something that may well work later: a network, a server, a lock. The only error that is retried."""

    exit_code = 75


class NoStore(Unavailable):
    """The store itself is not there, or not yet: a bucket, a container. Not worth asking for again at once."""


class Refused(BackupError):
    """Rights or credentials do not allow it; trying again changes nothing."""

    exit_code = 77


class Locked(Refused):
    """Nobody may delete it yet: its store keeps it until a date. Later it can be deleted."""


class Missing(BackupError):
    """A named object is not there."""


class Exists(BackupError):
    """A create-only write lost: the name is taken, and what is there was left as it is."""


class NoSpace(BackupError):
    """The disk or the quota behind a folder is full."""

    exit_code = 74


class Damaged(BackupError):
    """Stored bytes are not what was stored. The message names the object."""

    exit_code = 65


class Condemned(BackupError):
    """A snapshot relies on a pack that a prune has condemned meanwhile; capture the source again."""


class NotARepository(BackupError):
    """The destination answers, but there is no repository at that place."""

    exit_code = 66


class NewerFormat(BackupError):
    """The repository was written by a newer version of this program, or holds what only a newer one knows."""

    exit_code = 66


class WrongKey(BackupError):
    """The passphrase or the key does not open this repository."""

    exit_code = 77


class NotYet(BackupError):
    """A source's window is not open, or this host is not the one to do it; `seconds` until it is looked at again. The
    step waits, for as long as that takes."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class WindowClosed(BackupError):
    """A source's window closed before its capture began, or opens only after its plan is due again."""


class NotFound(BackupError):
    """The person asked for a source, snapshot, path or plan that does not exist."""

    exit_code = 66


class BadRequest(BackupError):
    """Another application asked for something that can't be understood: an unknown argument, a wrong type."""


class SettingsError(BackupError):
    """backup.toml, or a file or variable it refers to, is not as it must be."""

    exit_code = 78


class SourceError(BackupError):
    """A source can't be captured as it is configured: a missing folder, no git repository where one was named."""

    exit_code = 66


class UnsafePath(BackupError):
    """An item's path or link would lead outside the folder that a restore was pointed at."""

    exit_code = 65


class Occupied(BackupError):
    """A restore would overwrite something and was not told to."""

    exit_code = 73


TO_OVERWRITE = "allow to overwrite (`--overwrite`; of a task, `overwrite`)"
"""How that is told to, wherever a restore was asked for."""


class PartFailed(BackupError):
    """What one of those that share a step failed with, for good; `kind` is that of its own error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self._kind = kind

    @property
    def kind(self) -> str:
        return self._kind


def exit_code_of(kind: str) -> int:
    """Of an error of which only the `kind` is left, as in an outcome."""
    known = [BackupError]
    for each in known:  # which grows meanwhile
        known += each.__subclasses__()
    return next((each.exit_code for each in known if each.__name__ == kind), BackupError.exit_code)

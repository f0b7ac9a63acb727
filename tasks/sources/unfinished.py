"""The name that something has in its folder while it is restored, and how it comes by its own."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from hashlib import blake2b

from tasks.errors import Refused
from tasks.sources.open_folders import Descriptor
from tasks.sources.path_text import path_text
from tasks.sources.target_file import identity
from tasks.sources.target_path import CREATE, NO_LINKS

_PREFIX = b".geometra-restore-"


class Unfinished:
    """`overwrite`: what is complete may replace what has its name."""

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite

    def name(self, path: bytes) -> bytes:
        """Of what belongs at `path`, until it is complete: always the same, so that what a restore that was killed has
        left goes with the next one."""
        return _PREFIX + _digest(path)

    def name_of_whole(self, path: bytes, name: bytes) -> bytes:
        """The same for what is written at once. Where it replaces nothing, its own name: another one would take a
        quarter more CPU for small files, to keep a kill from leaving the last of them short."""
        return self.name(path) if self._overwrite else name

    def create(self, parent: Descriptor, written_as: bytes, name: bytes, mode: int) -> int:
        """The number of a new file that is to have the `name`. Raises `FileExistsError` where it is written under it
        and it is taken."""
        try:
            return os.open(written_as, CREATE, mode, dir_fd=parent.number)
        except FileExistsError:
            if written_as == name:
                raise
        remove(parent, written_as)
        return os.open(written_as, CREATE, mode, dir_fd=parent.number)

    def check_free(self, parent: Descriptor, name: bytes) -> None:
        """Raises `FileExistsError` before hours are spent on what can't have its name."""
        if not self._overwrite:
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=parent.number, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def finish(self, parent: Descriptor, written_as: bytes, name: bytes, made: tuple[int, int] | None = None) -> bytes:
        """Give what is complete, and `made`, the name that it is to have; the one that it has now. Raises `Refused`,
        `FileExistsError`."""
        try:
            if made and identity(os.stat(written_as, dir_fd=parent.number, follow_symlinks=False)) != made:
                raise Refused(f"another restore is writing `{path_text(name)}` too: let one of them end first")
            if self._overwrite:
                os.rename(written_as, name, src_dir_fd=parent.number, dst_dir_fd=parent.number)
            else:
                give_name(parent, written_as, name)
                remove(parent, written_as)
        except FileNotFoundError as error:
            raise Refused(
                f"what was written of `{path_text(name)}` is gone: another restore writes it too, or somebody clears"
                " that folder; let that end first"
            ) from error
        return name


class Staged(Unfinished):
    """Names of one attempt, which nothing else begins with; what has one keeps it until it is placed, unless it may
    overwrite. `folders` are those that some are in."""

    def __init__(self, attempt: str, *, overwrite: bool) -> None:
        super().__init__(overwrite=overwrite)
        self._attempt = attempt
        self.folders: set[bytes] = set()

    def name(self, path: bytes) -> bytes:
        self.folders.add(path.rpartition(b"/")[0])
        return staged_name(self._attempt, path)

    def name_of_whole(self, path: bytes, name: bytes) -> bytes:
        return self.name(path)

    def check_free(self, parent: Descriptor, name: bytes) -> None:
        """What was in the way was told before the first attempt; what is there now may be another attempt's."""

    def finish(self, parent: Descriptor, written_as: bytes, name: bytes, made: tuple[int, int] | None = None) -> bytes:
        return super().finish(parent, written_as, name, made) if self._overwrite else written_as


def staged_name(attempt: str, path: bytes) -> bytes:
    """Of what will be at `path`, in the same folder."""
    return staged_prefix(attempt) + _digest(path)


def staged_prefix(attempt: str) -> bytes:
    return _PREFIX + attempt.encode() + b"-"


def _digest(path: bytes) -> bytes:
    return blake2b(path, digest_size=10).hexdigest().encode()


def give_name(folder: Descriptor, staged: bytes, name: bytes) -> None:
    """Raises `FileNotFoundError` where nothing is staged, `FileExistsError` where the name is taken."""
    number = folder.number
    try:
        os.link(staged, name, src_dir_fd=number, dst_dir_fd=number, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Where no file can have two names, its name is taken first: a kill between these two leaves an empty file.
        os.close(os.open(name, CREATE, 0o600, dir_fd=number))
        try:
            os.rename(staged, name, src_dir_fd=number, dst_dir_fd=number)
        except OSError:
            remove(folder, name)
            raise


def remove(folder: Descriptor, name: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder.number)


def remove_made(folder: Descriptor, name: bytes, made: tuple[int, int] | None) -> None:
    """What a restore that is ended was writing, unless that name is another file's than the one it `made` by now."""
    with suppress(OSError):  # the error that ended it matters more
        if made is None or identity(os.stat(name, dir_fd=folder.number, follow_symlinks=False)) == made:
            os.unlink(name, dir_fd=folder.number)


def remove_empty(folder: Descriptor, name: bytes, began: int) -> None:
    """What a signal came upon that was just made, or not yet: nothing that was there before the restore `began` (its
    first file's ctime, in nanoseconds; 0 if there is none) is removed."""
    with suppress(OSError):
        found = os.stat(name, dir_fd=folder.number, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) and not found.st_size and 0 < began <= found.st_ctime_ns:
            os.unlink(name, dir_fd=folder.number)

"""Objects as files below one folder: a local disk, a mounted one, NFS. Knows nothing of what the objects mean."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.destinations.destination import Data, Lent, Listed, check_name, check_prefix, check_range
from tasks.destinations.file_errors import explained
from tasks.destinations.folder import closing, make_below, open_below, open_root, sync_folder
from tasks.destinations.folder_listing import folders_with, walk
from tasks.errors import Damaged, Exists, Missing, Refused, Unavailable
from tasks.settings import DestinationSettings

_UNFINISHED = ".tmp"
_STALE_SECONDS = 24 * 3600
# Measured on ext4 (Linux 6.18): 16 MiB written at once took 8 to 48 ms, in pieces of this size 8 to 12.
_PIECE_BYTES = 1 << 20
# So that opening a FIFO fails the check that follows instead of waiting for a writer.
_READ = os.O_RDONLY | os.O_NONBLOCK


def _no_locks(data: Any) -> Any:
    if isinstance(data, dict) and {"immutable_days", "immutable_trial"} & data.keys():
        raise ValueError(
            "`immutable_days` is for `s3`, `azure` and `gcs`: no folder refuses its owner; `geometra-backup policy`"
            " says what a folder can do, and a second destination in a cloud can be locked"
        )
    return data


class LocalSettings(DestinationSettings):
    """A folder: on a disk of this machine, an external one, or a share."""

    kind: Literal["local"] = "local"

    path: Path
    """The folder. It has to be there: a backup never makes it, or a disk that is not mounted would quietly be replaced
    by an empty folder on the disk below."""

    mounted: Path | None = Field(default=None, examples=["/mnt/disk"])
    """A mount point, such as `/mnt/disk`, that `path` lies on. While nothing is mounted there the destination counts as
    unavailable. Set it wherever `path` is a mount point itself, for that folder is there without its disk too."""

    _checked = model_validator(mode="before")(_no_locks)


class Local:
    """Objects as files, each made whole by a hard link from an unfinished file in `.tmp`. Needs one file system that
    has hard links and tells upper from lower case. Files get mode 0600, folders 0700. A name can't be both an object
    and the folder of another: `Refused`.

    Symbolic links below the folder are never followed and never left out of a listing in silence: `Refused`. Not
    covered: bind mounts and hard links planted by somebody who may write to the folder.
    """

    Settings: ClassVar[type[LocalSettings]] = LocalSettings

    def __init__(self, settings: LocalSettings) -> None:
        self._root = settings.path.absolute()
        self._mounted = settings.mounted.absolute() if settings.mounted else None
        self._durable: set[str] = set()
        self._next_sweep = 0.0

    def prepare(self) -> None:
        """Make the folder, and its parents, if it is not there yet. For `init`, and for folders of the program's own
        such as the spool; a backup leaves it alone, see `LocalSettings`. Raises `NoSpace`, `Refused`, `Unavailable`."""
        with explained("make", self._root):
            self._mounted_device()
            missing = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(mode=0o700, exist_ok=True)
                with closing(open_root(folder.parent)) as parent:
                    sync_folder(parent)
            with self._open():
                pass

    def put(self, name: str, data: Data) -> None:
        path = self._root / check_name(name)
        *folders, last = name.split("/")
        with explained("store", path), self._open() as root, make_below(root, folders, self._durable) as folder:
            stored = not _is_taken(folder, last, path) and self._store(root, folder, last, data)
            # Also if it was there: whoever made it may not have come to this yet, and the caller will rely on it.
            sync_folder(folder)
            if not stored:
                raise Exists(f"`{path}` is there already, and was left as it is")

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        path = self._root / check_name(name)
        *folders, last = name.split("/")
        with explained("read", path), self._open() as root:
            try:
                with open_below(root, folders) as folder:
                    file = os.open(last, _READ | os.O_NOFOLLOW, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Missing(f"`{path}` is not there") from error
            with closing(file):
                found = os.fstat(file)
                if stat.S_ISDIR(found.st_mode):
                    raise Missing(f"`{path}` is not there, only a folder of that name")
                if not stat.S_ISREG(found.st_mode):
                    raise Refused(f"`{path}` is no plain file, so nothing that was stored: remove it")
                return _read(file, offset, check_range(str(path), found.st_size, offset, length), path)

    def path_of(self, name: str) -> Path | None:
        path = self._root / check_name(name)
        *folders, last = name.split("/")
        with explained("read", path), self._open() as root:
            try:
                with open_below(root, folders) as folder:
                    return path if stat.S_ISREG(os.lstat(last, dir_fd=folder).st_mode) else None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._list(check_prefix(prefix))

    def folders_with(self, name: str) -> Sequence[str]:
        with explained("list", self._root), self._open() as root:
            return folders_with(root, self._root, check_name(name))

    def delete(self, name: str) -> None:
        """Durable on return: a deleted snapshot must not come back when the packs deleted after it do not."""
        path = self._root / check_name(name)
        *folders, last = name.split("/")
        with explained("delete", path), self._open() as root:
            try:
                with open_below(root, folders) as folder:
                    if stat.S_ISDIR(os.lstat(last, dir_fd=folder).st_mode):
                        raise Missing(f"`{path}` is not there, only a folder of that name")
                    os.unlink(last, dir_fd=folder)
                    sync_folder(folder)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Missing(f"`{path}` is not there") from error

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            root = open_root(self._root)
        except (FileNotFoundError, NotADirectoryError) as error:
            advice = "mount its disk, or make the folder if it is a new one"
            raise Unavailable(f"the folder `{self._root}` is not there: {advice}") from error
        with closing(root):
            # Only now that the folder is held open: a mount that comes or goes in between can't be mistaken.
            device = self._mounted_device()
            if device not in (None, os.fstat(root).st_dev):
                raise Unavailable(f"`{self._root}` is not on the disk mounted at `{self._mounted}`: check `mounted`")
            yield root

    def _mounted_device(self) -> int | None:
        if self._mounted is None:
            return None
        with suppress(FileNotFoundError):
            device = os.stat(self._mounted).st_dev
            if device != os.stat(self._mounted / "..").st_dev:
                return device
        raise Unavailable(f"nothing is mounted at `{self._mounted}`: mount the disk of `{self._root}`")

    def _store(self, root: int, folder: int, last: str, data: Data) -> bool:
        """False where the name is taken."""
        if not isinstance(data, Path | Lent):
            return self._write(root, folder, last, [memoryview(data)])
        path = data.path if isinstance(data, Lent) else data
        with explained("read", path):
            try:
                source = os.open(path, _READ | (os.O_NOFOLLOW if isinstance(data, Lent) else 0))
            except FileNotFoundError as error:
                raise Missing(f"`{path}`, the file that was to be stored, is not there") from error
        with closing(source):
            if not stat.S_ISREG(os.fstat(source).st_mode):
                raise Refused(f"`{path}` is no plain file, so it can't be stored")
            linked = None if isinstance(data, Lent) else _link(source, path, folder, last)
            return self._write(root, folder, last, _pieces(source, path)) if linked is None else linked

    def _write(self, root: int, folder: int, last: str, pieces: Iterable[memoryview]) -> bool:
        with make_below(root, [_UNFINISHED], self._durable) as unfinished:
            self._sweep(unfinished)
            own = f"{os.getpid()}-{secrets.token_hex(8)}"
            try:
                with closing(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=unfinished)) as file:
                    os.fchmod(file, 0o600)
                    for piece in pieces:
                        rest = piece.cast("B")
                        while rest:
                            rest = rest[os.write(file, rest[:_PIECE_BYTES]) :]
                    os.fsync(file)
                    try:
                        os.link(own, last, src_dir_fd=unfinished, dst_dir_fd=folder, follow_symlinks=False)
                    except FileExistsError:
                        # Over NFS, the retry of a lost reply finds the link that it made itself.
                        return os.fstat(file).st_nlink == 2
                    except PermissionError as error:
                        if error.errno == errno.EPERM:  # as FAT says it, of a file that was just made here
                            raise OSError(errno.ENOTSUP, "no hard links") from error
                        raise
                    return True
            finally:
                with suppress(OSError):
                    os.unlink(own, dir_fd=unfinished)

    def _sweep(self, unfinished: int) -> None:
        """At the first write, and again after a day, remove what writers that were killed have left behind."""
        now = time.time()
        if now < self._next_sweep:
            return
        self._next_sweep = now + _STALE_SECONDS
        with os.scandir(unfinished) as entries:
            for entry in entries:
                # One that can't be removed now, or just went away, is left to the next sweep.
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < now - _STALE_SECONDS:
                        os.unlink(entry.name, dir_fd=unfinished)

    def _list(self, prefix: str) -> Iterator[Listed]:
        above, slash, start = prefix.rpartition("/")
        with explained("list", self._root / prefix), self._open() as root, ExitStack() as opened:
            try:
                base = opened.enter_context(open_below(root, above.split("/") if above else []))
            except (FileNotFoundError, NotADirectoryError):
                return
            yield from walk(base, self._root, above + slash, start)


def _is_taken(folder: int, last: str, path: Path) -> bool:
    try:
        found = os.lstat(last, dir_fd=folder)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise Refused(f"`{path}` is a folder of other objects, so no object can have that name")
    return True


def _link(source: int, path: Path, folder: int, last: str) -> bool | None:
    """Give a file a second name. False: the name is taken; None: the file has to be copied."""
    try:
        # One at a time: two who count its names before either has linked it would both do so.
        fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:  # else a share that has no locks for who only reads
            return None
    found, named = os.fstat(source), os.lstat(path)
    private = stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()
    # Not one that was linked before: two destinations on one disk must not share the bytes that one of them may lose.
    if not private or found.st_nlink > 1 or not os.path.samestat(found, named):
        return None
    os.fsync(source)
    try:
        os.link(path, last, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            return None
        raise
    return True


def _pieces(source: int, path: Path) -> Iterator[memoryview]:
    """The bytes of an open file, in one buffer that is used again and again."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    left = os.fstat(source).st_size
    with explained("read", path):
        while count := os.readv(source, [buffer]):
            left -= count
            yield buffer[:count]
    if left:
        raise Damaged(f"`{path}` changed its size while it was stored: it must be finished before")


def _read(file: int, offset: int, length: int, path: Path) -> bytes:
    data = os.pread(file, length, offset)
    while len(data) < length:
        # The kernel reads at most 2 GiB at once.
        more = os.pread(file, length - len(data), offset + len(data))
        if not more:
            raise Damaged(f"`{path}` was cut short while it was read: run `verify` on its source")
        data += more
    return data

"""What a file's status says, as an `Entry`."""

from __future__ import annotations

import grp
import os
import pwd
import stat

from tasks.item import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    FIFO,
    FILE,
    FOLDER,
    SOCKET,
    SYMLINK,
    Entry,
)

_TYPES = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}
_LIMIT = (1 << 63) - 1
_new = tuple.__new__


class OwnerNames:
    """The names of user and group numbers, each looked up once; "" for a number without a name. `reader` is the number
    of the user who looks."""

    def __init__(self) -> None:
        self.reader = os.geteuid()
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self.known: dict[tuple[int, int], tuple[str, str]] = {}
        """What `both` has found."""

    def both(self, user: int, group: int) -> tuple[str, str]:
        """The names of a file's user and group."""
        names = self.known.get((user, group))
        if names is None:
            names = self.known[user, group] = self.user(user), self.group(group)
        return names

    def user(self, number: int) -> str:
        name = self._users.get(number)
        if name is None:
            try:
                name = pwd.getpwuid(number).pw_name
            except KeyError:
                name = ""
            self._users[number] = name
        return name

    def group(self, number: int) -> str:
        name = self._groups.get(number)
        if name is None:
            try:
                name = grp.getgrgid(number).gr_name
            except KeyError:
                name = ""
            self._groups[number] = name
        return name


def _in_range(nanoseconds: int) -> int:
    """A time that 64 bits hold, from the year 1677 to 2262: some file systems take any."""
    return nanoseconds if -_LIMIT < nanoseconds < _LIMIT else (-_LIMIT, _LIMIT)[nanoseconds > 0]


def file_entry(path: bytes, status: os.stat_result, owners: OwnerNames) -> Entry:
    """The entry of a regular file."""
    mode, uid, gid, mtime = status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns
    user, group = owners.known.get((uid, gid)) or owners.both(uid, gid)
    if not -_LIMIT < mtime < _LIMIT:
        mtime = _in_range(mtime)
    size, version = status.st_size, (status.st_ctime_ns, status.st_ino)
    # As `Entry(...)`: this is done for every file of every night.
    entry = path, FILE, mode, uid, gid, user, group, mtime, size, version, b"", 0, (), None, "", b""
    return _new(Entry, entry)


def other_entry(path: bytes, status: os.stat_result, owners: OwnerNames) -> Entry:
    """The entry of anything else, without links and attributes. Such an item has no bytes, so no size and version."""
    return Entry(
        path,
        _TYPES.get(stat.S_IFMT(status.st_mode), SOCKET),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        owners.user(status.st_uid),
        owners.group(status.st_gid),
        _in_range(status.st_mtime_ns),
        device=status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0,
    )

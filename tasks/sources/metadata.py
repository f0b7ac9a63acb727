"""Owners, permissions, attributes and times, given to what was restored."""

from __future__ import annotations

import grp
import os
import pwd
import time

from tasks.item import Entry
from tasks.sources.extended_attributes import drop_acls, give_file, give_name, has_default_acl
from tasks.sources.not_restored import NotRestored

_NEEDS_ROOT = "the owner was not given back, as only root can; it belongs to the restoring user"
_OWNER = "its owner was refused"
_TIMES = "its permissions or its time were refused"
_ATTRIBUTES = "extended attributes, or an access control list among them, were refused"
_OWN_BITS = 0o6000
_SAFE = 0o600
"""Permissions by which nobody but its owner gets at a file."""
_OF_ROOT = (b"security.", b"trusted.")


class Metadata:
    """Gives back what an entry says beside content and links. What is refused is noted, never raised.

    Owners are found by name and, where there is no such name, by number. Set-user-id bits and capabilities are
    given only together with the owner. The access time becomes the time of the restore. Access control lists that
    come from a folder which was there are taken away again: nobody gets at more than before.
    """

    def __init__(self, owners: bool, missed: NotRestored) -> None:
        self._owners = owners
        self._missed = missed
        self._now = time.time_ns()
        self._inherits = False
        self._own = (os.geteuid(), os.getegid())
        self._users: dict[tuple[str, int], int] = {}
        self._groups: dict[tuple[str, int], int] = {}
        self._numbers: dict[tuple[int, int, str, str], tuple[int, int]] = {}

    def look_at(self, folder: int) -> None:
        """At an open folder before anything is made in it: its default access control list would go on to that."""
        self._inherits = self._inherits or has_default_acl(folder)

    def first_mode(self, entry: Entry) -> int:
        """The permissions to make a file with, before `give`: at once those that it is to have, if until then nobody
        can do more with it than afterwards, whatever group it is made with."""
        mode = entry.mode & 0o7777
        if self._inherits or entry.xattrs or mode & ~0o777 or mode & _SAFE != _SAFE or mode >> 3 & 7 & ~mode:
            return _SAFE
        stays = not self._owners or self._own[0] != 0 or self._owner(entry)[0] == 0
        return mode if stays else _SAFE

    def is_given(self, status: os.stat_result, entry: Entry) -> bool:
        """Whether a file with this status has owner and permissions as `give` would leave them."""
        mode, owner = entry.mode & 0o7777, self._owner(entry)
        if not self._owners:
            owner = self._own
            if mode & _OWN_BITS or any(name.startswith(_OF_ROOT) for name, _ in entry.xattrs):
                return False
        return status.st_mode & 0o7777 == mode and (status.st_uid, status.st_gid) == owner

    def give(
        self, descriptor: int, entry: Entry, status: os.stat_result | None = None, *, was_there: bool = False
    ) -> None:
        """To an open file or folder; `status`, if it is known, saves what is right already. What `was_there` may have
        access control lists of its own."""
        mode, attributes = entry.mode & 0o7777, entry.xattrs
        if not self._give_owner(descriptor, entry, status):
            mode &= ~_OWN_BITS
            attributes = tuple(pair for pair in attributes if not pair[0].startswith(_OF_ROOT))
        if self._inherits or was_there:
            drop_acls(descriptor, attributes)
            status = None
        # Before the mode: a file that may not be written takes no attributes.
        if (attributes and give_file(descriptor, attributes)) or len(attributes) < len(entry.xattrs):
            self._missed.add(_ATTRIBUTES, entry.path)
        try:
            if status is None or status.st_mode & 0o7777 != mode or mode & _OWN_BITS:
                os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(self._now, entry.mtime_ns))
        except (OSError, OverflowError):
            self._missed.add(_TIMES, entry.path)

    def give_link(self, folder: int, name: bytes, entry: Entry) -> None:
        """To a symbolic link in an open folder, never to what it points to."""
        if self._owners and self._own[0] == 0:
            try:
                os.chown(name, *self._owner(entry), dir_fd=folder, follow_symlinks=False)
            except (OSError, OverflowError):
                self._missed.add(_OWNER, entry.path)
        if entry.xattrs and give_name(folder, name, entry.xattrs):
            self._missed.add(_ATTRIBUTES, entry.path)
        try:
            os.utime(name, ns=(self._now, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)
        except (OSError, OverflowError):
            self._missed.add(_TIMES, entry.path)

    def _give_owner(self, descriptor: int, entry: Entry, status: os.stat_result | None) -> bool:
        owner = self._owner(entry)
        if not self._owners:
            return False
        if self._own[0]:
            if owner[0] == self._own[0] and _has_group(descriptor, owner[1], status):
                return True
            self._missed.add(_NEEDS_ROOT, entry.path)
            # Nor to the group that a set-group-id folder gave it: it may do what the file's own group may.
            _has_group(descriptor, self._own[1], status)
            return False
        if status is not None and owner == (status.st_uid, status.st_gid):
            return True
        try:
            os.fchown(descriptor, *owner)
        except (OSError, OverflowError):
            self._missed.add(_OWNER, entry.path)
            return False
        return True

    def _owner(self, entry: Entry) -> tuple[int, int]:
        key = entry.uid, entry.gid, entry.user, entry.group
        if (found := self._numbers.get(key)) is None:
            found = self._numbers[key] = self._user(entry.user, entry.uid), self._group(entry.group, entry.gid)
        return found

    def _user(self, name: str, number: int) -> int:
        if (name, number) not in self._users:
            try:
                self._users[name, number] = pwd.getpwnam(name).pw_uid
            except (KeyError, ValueError):
                self._users[name, number] = number
        return self._users[name, number]

    def _group(self, name: str, number: int) -> int:
        if (name, number) not in self._groups:
            try:
                self._groups[name, number] = grp.getgrnam(name).gr_gid
            except (KeyError, ValueError):
                self._groups[name, number] = number
        return self._groups[name, number]


def _has_group(descriptor: int, group: int, status: os.stat_result | None) -> bool:
    """Whether it belongs to that group, now that it was asked to."""
    try:
        if (status or os.fstat(descriptor)).st_gid != group:
            os.fchown(descriptor, -1, group)
    except (OSError, OverflowError):
        return False
    return True

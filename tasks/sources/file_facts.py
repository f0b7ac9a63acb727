"""What is counted while files are captured, and counted again in a restored copy: equal if the copy is right."""

from __future__ import annotations

import os

import msgpack
from blake3 import blake3

from tasks.item import FIFO, FILE, FOLDER, HARDLINK, SYMLINK, Entry, Facts

OWNERS = "owners"

_COUNTED = {FILE: "files", FOLDER: "folders", SYMLINK: "symbolic_links", HARDLINK: "hard_links", FIFO: "pipes"}
_TOGETHER = 256
"""Records hashed together: a call for each costs more than the hash."""
_GIVEN_BY_OWNERS = 0o6000
_PORTABLE = (b"user.", b"system.posix_acl_")


class FileFacts:
    """Add every item in order, then take the facts: how many of each type, `content_bytes`, and `digest`: one BLAKE3
    over path, type, permissions, modification time, size, link, `user.` attributes, ACLs and content of them all.

    `owners` is the same over path, owner and set-user-id bits of each item whose owner or bits are not those of the
    one before; only root can give them back, so only root counts them. Sockets and devices are not restored and not
    counted.
    """

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._bytes = 0
        self._digest = _Records()
        self._owners = _Records() if os.geteuid() == 0 else None
        self._add, self._add_owner = self._digest.add, self._owners.add if self._owners else None
        self._last: tuple[object, ...] = ()

    def add(self, entry: Entry) -> None:
        if entry.type not in _COUNTED:
            return
        path, kind, mode, uid, gid, user, group, mtime, size, _, link, _, xattrs, extents, _, digest = entry
        self._counts[kind] += 1
        if kind == FILE:
            self._bytes += size if extents is None else entry.content_size
        # An ACL's numbers and the owner's attributes travel with the file; the machine's own do not.
        attributes = [pair for pair in xattrs if pair[0].startswith(_PORTABLE)] if xattrs else ()
        self._add((path, kind, mode & ~_GIVEN_BY_OWNERS, mtime, size, link, attributes, digest))
        if self._add_owner:
            owner = mode & _GIVEN_BY_OWNERS, user or uid, group or gid
            if owner != self._last:
                self._add_owner((path, *owner))
                self._last = owner

    def facts(self) -> Facts:
        facts: Facts = {_COUNTED[kind]: count for kind, count in self._counts.items()}
        facts |= {"content_bytes": self._bytes, "digest": self._digest.hexdigest()}
        if self._owners:
            facts[OWNERS] = self._owners.hexdigest()
        return facts


class _Records:
    """One BLAKE3 over the msgpack of records."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(autoreset=False)
        self._pack = self._packer.pack
        self._waiting = 0
        self._digest = blake3()

    def add(self, record: tuple[object, ...]) -> None:
        self._pack(record)
        self._waiting += 1
        if self._waiting == _TOGETHER:
            self._take()

    def hexdigest(self) -> str:
        self._take()
        return self._digest.hexdigest()

    def _take(self) -> None:
        self._digest.update(self._packer.bytes())
        self._packer.reset()
        self._waiting = 0

"""What is counted while files are captured, and counted again in a restored copy: equal if the copy is right."""

from __future__ import annotations

import os

import msgpack
from blake3 import blake3

from tasks.item import FIFO, FILE, FOLDER, HARDLINK, SYMLINK, Entry, Facts, Stream

_COUNTED = {FILE: "files", FOLDER: "folders", SYMLINK: "symbolic_links", HARDLINK: "hard_links", FIFO: "pipes"}
_BUFFER = 1 << 20
_pack = msgpack.Packer(autoreset=True).pack
_GIVEN_BY_OWNERS = 0o6000
_PORTABLE = (b"user.", b"system.posix_acl_")


class FileFacts:
    """Add every item in order, then take the facts: how many of each type, `content_bytes`, and `digest`: one BLAKE3
    over path, type, permissions, modification time, size, link, `user.` attributes, ACLs and content of them all.

    `owners` is the same over owners and set-user-id bits; only root can give these back, so only root counts them.
    Sockets and devices are not restored and not counted.
    """

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._bytes = 0
        self._digest = blake3()
        self._owners = blake3() if os.geteuid() == 0 else None

    def add(self, entry: Entry) -> None:
        if entry.type not in _COUNTED:
            return
        self._counts[entry.type] += 1
        if entry.type == FILE:
            self._bytes += entry.content_size
        # An ACL's numbers and the owner's attributes travel with the file; the machine's own do not.
        attributes = [pair for pair in entry.xattrs if pair[0].startswith(_PORTABLE)] if entry.xattrs else ()
        mode = entry.mode & ~_GIVEN_BY_OWNERS
        record = (entry.path, entry.type, mode, entry.mtime_ns, entry.size, entry.link, attributes, entry.digest)
        self._digest.update(_pack(record))
        if self._owners:
            owner = (entry.path, entry.mode & _GIVEN_BY_OWNERS, entry.user or entry.uid, entry.group or entry.gid)
            self._owners.update(_pack(owner))

    def facts(self) -> Facts:
        facts: Facts = {_COUNTED[kind]: count for kind, count in self._counts.items()}
        facts |= {"content_bytes": self._bytes, "digest": self._digest.hexdigest()}
        if self._owners:
            facts["owners"] = self._owners.hexdigest()
        return facts


def with_digest(stream: Stream) -> Entry:
    """What was read, with the BLAKE3-256 of its bytes as a repository would note it."""
    digest = blake3()
    buffer = memoryview(bytearray(_BUFFER))
    while count := stream.readinto(buffer):
        digest.update(buffer[:count])
    return stream.close().entry._replace(digest=digest.digest())

"""Items that are read for nothing but the digests of their bytes."""

from __future__ import annotations

from tasks.content_digest import ContentDigest, content_digest
from tasks.item import Entry, Item

_BUFFER = 1 << 20
_new = tuple.__new__


class ContentReader:
    """Reads one after the other, all into one buffer."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER))

    def read(self, item: Item) -> Entry:
        """What was read, with the digest of its bytes as a repository would note it; what has no bytes, as it is.
        Raises `Vanished`, `Unreadable`."""
        if item.open is None:
            return item.entry
        buffer = self._buffer
        if item.at_once and (read := item.at_once(item.entry, buffer)):
            # As `_replace`: this is done for every small file.
            return _new(Entry, (*read[:-1], content_digest(buffer[: read.size])))
        digest, stream = ContentDigest(), item.open()
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
        return stream.close().entry._replace(digest=digest.digest())

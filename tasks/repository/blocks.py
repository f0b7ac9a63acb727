"""Decoded blocks, and single chunks of them, from the packs of a repository."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from blake3 import blake3

from tasks.destinations.destination import Destination, is_near, reading_again
from tasks.errors import Damaged, Missing, Unavailable
from tasks.item import Stored
from tasks.numbers import Numbers
from tasks.repository import compression
from tasks.repository.columns import Columns
from tasks.repository.index import Index, IndexedPack
from tasks.repository.keys import RepositoryKeys
from tasks.repository.naming import Naming
from tasks.repository.pack import LISTS, NAME, PackCipher, header_size, object_name

T = TypeVar("T")

_CACHED_BLOCKS, _CACHED_CIPHERS = 16, 4096


class Fetched(NamedTuple):
    """Stored bytes of one pack, from `start` on, and what opens them."""

    cipher: PackCipher
    start: int
    data: memoryview


class Blocks:
    """Decoded blocks of a repository. Safe in threads; raises `Damaged` rather than return a wrong byte. A pack that
    can't be read though its destination `answers` counts as damaged too: there, one must not be in the way of all."""

    def __init__(
        self, destination: Destination, index: Index, keys: RepositoryKeys, *, answers: Callable[[], bool] | None = None
    ) -> None:
        self._destination, self.index, self._keys = destination, index, keys
        self._answers, self._unreadable = answers or (lambda: False), dict[bytes, str]()
        self._ciphers: OrderedDict[bytes, PackCipher] = OrderedDict()
        self._opening: dict[bytes, threading.Lock] = {}
        self._cached: OrderedDict[int, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def chunk(self, name: bytes, what: str) -> memoryview:
        """One chunk, by way of a small cache of blocks. `what` says in an error whose chunk it is."""
        place = self.index.find(name)
        if place is None:
            raise lost_chunk(what)
        data = self.cached(place.block)[place.offset : place.offset + place.length]
        self.verify(name, data, place.block)
        return data

    def cached(self, number: int) -> memoryview:
        """A block, decoded, perhaps a while ago."""
        block = self._cached.get(number)
        if block is None:
            block = self.read(number)
            with self._lock:
                self._cached[number] = block
                if len(self._cached) > _CACHED_BLOCKS:
                    self._cached.popitem(last=False)
        return block

    def read(self, number: int) -> memoryview:
        """A block, decoded."""
        return self.decode(number, self.fetch(number, number))

    def is_near(self, number: int) -> bool:
        """Whether a block lies in a file of this host."""
        pack, *_ = self.index.block(number)
        return is_near(self._destination, object_name(pack.name))

    def fetch(self, first: int, last: int) -> Fetched:
        """The stored bytes of blocks that lie in one pack one after the other, in one read."""
        pack, within, block = self.index.block(first)
        *_, end = self.index.block(last)
        cipher = self._ciphers.get(pack.name)
        # Right before the first block lies what opens them all.
        start = 0 if cipher is None and not within else block.offset
        data = memoryview(self._get(pack.name, start, end.offset + end.stored - start))
        if cipher is None:
            cipher = self._cipher(pack, bytes(data[: block.offset]) if not start else b"")
        return Fetched(cipher, start, data)

    def neighbours(self, wanted: Iterable[T], number: Callable[[T], int], most: int) -> Iterator[list[T]]:
        """What is wanted of blocks, in their order, by those that lie in one pack one after the other and are at most
        so many stored bytes: to be fetched in one read."""
        group, size = list[T](), 0
        for each in wanted:
            pack, within, block = self.index.block(number(each))
            if group:
                before, last, _ = self.index.block(number(group[-1]))
                if before is not pack or within != last + 1 or size + block.stored > most:
                    yield group
                    group, size = [], 0
            group.append(each)
            size += block.stored
        if group:
            yield group

    def decode(self, number: int, fetched: Fetched) -> memoryview:
        """A block out of what was fetched; where it came damaged from far away, it is fetched again."""
        try:
            return self._decoded(number, fetched)
        except Damaged:
            if self.is_near(number):
                raise
        pack, *_ = self.index.block(number)

        def read() -> memoryview:
            with self._lock:  # what was damaged may be what opens it
                self._ciphers.pop(pack.name, None)
            return self._decoded(number, self.fetch(number, number))

        return reading_again(self._destination, object_name(pack.name), read)

    def _decoded(self, number: int, fetched: Fetched) -> memoryview:
        pack, within, block = self.index.block(number)
        sealed = fetched.data[block.offset - fetched.start :][: block.stored]
        try:
            return compression.decode(block.method, fetched.cipher.open(within, block.method, sealed), block.raw)
        except ValueError as error:
            raise Damaged(f"`{object_name(pack.name)}`: block {within} does not decode: {error}") from error

    def naming(self) -> Naming:
        """What gives the chunks of contents their names."""
        return Naming(self._keys.naming)

    def verify(self, name: bytes, data: memoryview, block: int) -> None:
        """Raises `Damaged` unless the bytes are those of the name."""
        pack, within, _ = self.index.block(block)
        key = self._keys.listing if pack.kind == LISTS else self._keys.naming
        if blake3(data, key=key).digest(NAME) != name:
            raise Damaged(f"`{object_name(pack.name)}`: block {within} holds a chunk that is not what was stored")

    def verify_rows(self, rows: Numbers, data: memoryview, block: int) -> None:
        """Raises `Damaged` unless the chunks in these rows of the index, which lie in this block, are what their names
        say."""
        pack, within, _ = self.index.block(block)
        _, starts, lengths = self.index.places(rows)
        key = self._keys.listing if pack.kind == LISTS else self._keys.naming
        spans = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        if Naming(key).spans(data, spans) != self.index.names(rows):
            raise Damaged(f"`{object_name(pack.name)}`: block {within} holds a chunk that is not what was stored")

    def _cipher(self, pack: IndexedPack, header: bytes) -> PackCipher:
        """What opens a pack; its header is read if it is not given. One thread at a time for each pack, so that not all
        of them ask for the header of the same one."""
        with self._lock:
            opening = self._opening.setdefault(pack.name, threading.Lock())
        with opening:
            cipher = self._ciphers.get(pack.name)
            if cipher is None:
                try:
                    cipher = PackCipher(pack.name, header, self._keys)
                except Damaged:  # it came so, or was not given
                    cipher = reading_again(self._destination, object_name(pack.name), lambda: self._opened(pack))
                with self._lock:
                    self._ciphers[pack.name] = cipher
                    if len(self._ciphers) > _CACHED_CIPHERS:
                        self._ciphers.popitem(last=False)
                    self._opening.pop(pack.name, None)
        return cipher

    def _opened(self, pack: IndexedPack) -> PackCipher:
        return PackCipher(pack.name, self._get(pack.name, 0, header_size(pack.kind)), self._keys)

    def _get(self, pack: bytes, offset: int, length: int) -> bytes:
        name = object_name(pack)
        if pack in self._unreadable:
            raise Damaged(self._unreadable[pack])
        try:
            try:
                return self._destination.get(name, offset, length)
            except Unavailable:
                if not self._answers():
                    raise
            return self._destination.get(name, offset, length)  # all of it may have been away
        except Missing:
            raise Damaged(f"`{name}` is missing: an index names it, and it is not there") from None
        except Unavailable as error:
            if not self._answers():
                raise
            self._unreadable[pack] = f"`{name}` can't be read, while others beside it can: {error}"
            raise Damaged(self._unreadable[pack]) from error


def columns_of(item: Stored) -> Columns:
    """How the item's columns lie. Raises `Damaged` where that can't be."""
    try:
        columns = Columns.of(item.columns)
    except (ValueError, TypeError):
        raise Damaged(f"{shown(item)}: the snapshot holds an impossible order of its bytes") from None
    if columns.length > item.entry.content_size:
        raise Damaged(f"{shown(item)}: the snapshot says that more bytes are in columns than there are")
    return columns


def shown(item: Stored) -> str:
    """An item's path as an error may show it."""
    return repr(item.entry.path.decode(errors="backslashreplace"))


def lost_chunk(what: str) -> Damaged:
    """`what` says whose it is."""
    return Damaged(f"{what}: a chunk of it is in no pack that an index names")


def cut_short(what: str) -> Damaged:
    """`what` says whose list it is."""
    return Damaged(f"{what}: its list of chunks is cut short")

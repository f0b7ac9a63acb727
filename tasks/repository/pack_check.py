"""Packs read whole, and all that is in them checked against what an index says. Needs the private key."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from threading import Lock
from typing import NamedTuple

from blake3 import blake3

from tasks.cores import cores
from tasks.destinations.destination import Destination, is_near, reading_again
from tasks.errors import Damaged, Missing, NewerFormat
from tasks.repository import compression
from tasks.repository.inventory import Inventory
from tasks.repository.naming import Naming
from tasks.repository.pack import (
    LISTS,
    LONGEST_HEADER,
    NAME,
    TRAILER,
    PackCipher,
    SealedPack,
    footer_of,
    footer_reach,
    object_name,
)

_FAR_STREAMS = 4
"""Packs that are read at once, at least, from where each piece is waited for."""
_FAR_BYTES = 24 << 20
"""Of all of these together that are in memory."""
_END_BYTES = 1 << 18
"""Of a pack, in which its footer lies but for that of a great many small chunks."""


class Described(NamedTuple):
    """A pack as an index names it; `digest` stands for its block list, which takes far more memory."""

    name: bytes
    kind: str
    size: int
    digest: bytes

    @classmethod
    def of(cls, pack: SealedPack) -> Described:
        hasher = blake3()
        for part in (pack.listed.blocks, pack.listed.names, pack.listed.lengths):
            with memoryview(part) as view:
                hasher.update(view.nbytes.to_bytes(8, "little")).update(view.cast("B"))
        return cls(pack.name, pack.kind, pack.size, hasher.digest())


class PacksRead(NamedTuple):
    """What reading packs whole came to: what is wrong with which."""

    packs: int = 0
    size: int = 0
    chunks: int = 0
    damaged: tuple[tuple[bytes, str], ...] = ()

    def with_(self, other: PacksRead) -> PacksRead:
        return PacksRead(
            self.packs + other.packs,
            self.size + other.size,
            self.chunks + other.chunks,
            (*self.damaged, *other.damaged),
        )


def read_packs(
    repository: Inventory, packs: Iterable[Described], progress: Callable[[dict[str, float]], None] | None = None
) -> PacksRead:
    """Read packs whole and check all of them, several at once. Needs the private key. Raises `NewerFormat`: what only a
    newer version can read must not be called damaged, or it would be stored again, and deleted."""
    listed = list(packs)
    total, done, chunks, damaged = sum(pack.size for pack in listed), 0, 0, list[tuple[bytes, str]]()
    far = bool(listed) and not is_near(repository.destination, object_name(listed[0].name))
    threads = max(cores(), _FAR_STREAMS) if far else cores()
    piece, opening = _FAR_BYTES // threads, Lock()
    with ThreadPoolExecutor(threads, "checking") as pool:
        running: deque[tuple[Described, Future[int]]] = deque()
        waiting = deque(listed)
        while waiting or running:
            while waiting and len(running) <= threads:
                pack = waiting.popleft()
                check = partial(_check_pack, repository, pack, piece, opening)
                future = pool.submit(reading_again, repository.destination, object_name(pack.name), check)
                running.append((pack, future))
            pack, future = running.popleft()
            try:
                chunks += future.result()
            except (Damaged, Missing) as error:
                damaged.append((pack.name, str(error)))
            done += pack.size
            if progress:
                progress({"done_bytes": done, "total_bytes": total, "items": chunks})
    return PacksRead(len(listed), done, chunks, tuple(damaged))


def _check_pack(repository: Inventory, pack: Described, piece: int, opening: Lock) -> int:
    """Read a pack whole and check all of it against its index: in pieces of so many bytes, if it is far away. Returns
    the chunks. Raises `Damaged`, `Missing`; `NewerFormat` where a block is encoded in a way that is not known here."""
    name = object_name(pack.name)
    read = _reader(repository.destination, pack, piece)
    header = bytes(read(0, LONGEST_HEADER))
    reach = min(footer_reach(read(pack.size - TRAILER, TRAILER)), pack.size)
    end = read(pack.size - reach, reach)
    with opening:  # what lists a hundred thousand chunks takes several times its size for a moment
        try:
            cipher = PackCipher(pack.name, header, repository.keys)
        except NewerFormat as error:  # unlike a block's method, what says so is not sealed: it may as well be damage
            raise Damaged(str(error)) from error
        listed = cipher.open_footer(pack.name, footer_of(pack.name, end))
        if Described.of(SealedPack(pack.name, cipher.kind, pack.size, listed)) != pack:
            raise Damaged(f"`{name}`: its footer and its index disagree")
    del end
    naming = Naming(repository.keys.listing if pack.kind == LISTS else repository.keys.naming)
    at, blocks = 0, listed.located(pack.kind)
    if isinstance(read, _Pieces):
        read.ends = [block.offset + block.stored for block in blocks]
    for number, block in enumerate(blocks):
        try:
            encoded = cipher.open(number, block.method, read(block.offset, block.stored))
            plain = compression.decode(block.method, encoded, block.raw)
        except ValueError as error:
            raise Damaged(f"`{name}`: block {number} does not decode: {error}") from error
        until = at + block.chunks
        names = naming.names(plain, accumulate(listed.lengths[at:until]))
        if b"".join(names) != listed.names[at * NAME : until * NAME]:
            raise Damaged(f"`{name}`: block {number} holds a chunk that is not what was stored")
        at = until
    return at


def _reader(destination: Destination, pack: Described, piece: int) -> Callable[[int, int], memoryview]:
    """Bytes of a pack by offset and length: of a file range by range, which takes less memory."""
    name = object_name(pack.name)
    if is_near(destination, name):
        return lambda offset, length: memoryview(destination.get(name, offset, length))
    return _Pieces(destination, name, pack.size, piece)


class _Pieces:
    """Bytes of an object that is far away, out of few reads, none of which gives again what another gave. What is asked
    for up to its end comes with some more, and is kept; what lies before is to be asked for in order. `ends`: where
    stretches end that are asked for as a whole; no piece cuts one."""

    def __init__(self, destination: Destination, name: str, size: int, piece: int) -> None:
        self._destination, self._name, self._size, self._piece = destination, name, size, piece
        self._start, self._data = 0, memoryview(b"")
        self._end = memoryview(b"")
        self.ends: list[int] = []

    def __call__(self, offset: int, length: int) -> memoryview:
        until = min(offset + length, self._size)
        if until == self._size > self._piece:
            self._reach(offset)
        end = self._size - len(self._end)
        if offset >= end:
            return self._end[offset - end :][:length]
        if not self._start <= offset <= until <= self._start + len(self._data):
            self._go_on(offset, until, end)
        return self._data[offset - self._start :][:length]

    def _go_on(self, offset: int, until: int, end: int) -> None:
        """Hold what lies from `offset` until there, and more; what lies from `end` on is held already."""
        at = bisect_right(self.ends, offset + self._piece)
        wanted = min(max(until, self.ends[at - 1] if at else offset + self._piece), self._size)
        held = self._held(offset, end)
        self._data = memoryview(b"")  # the piece before goes before the next one comes
        parts = [held, self._get(offset + len(held), min(wanted, end)), self._end if wanted > end else b""]
        self._start, self._data = offset, memoryview(parts[1] if len(parts[1]) == wanted - offset else b"".join(parts))

    def _reach(self, offset: int) -> None:
        """Hold all from there to the end."""
        end = self._size - len(self._end)
        if offset < end:
            start = max(min(offset, self._size - _END_BYTES), 0)
            held = self._held(start, end)
            self._end = memoryview(b"".join((held, self._get(start + len(held), end), self._end)))

    def _held(self, start: int, end: int) -> bytes:
        """What the last piece has of this."""
        return bytes(self._data[start - self._start : end - self._start]) if start >= self._start else b""

    def _get(self, start: int, end: int) -> bytes:
        data = self._destination.get(self._name, start, end - start) if end > start else b""
        if len(data) != end - start:
            raise Damaged(f"`{self._name}`: only {len(data)} bytes came where {end - start} were asked for")
        return data

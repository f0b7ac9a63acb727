"""A block on its way: new chunks that will be compressed and sealed together."""

from __future__ import annotations

from array import array

from tasks.repository import compression, stretches
from tasks.repository.buffers import Buffer, Buffers
from tasks.repository.compression import DELTAS, FLOATS, RAW, ZSTD, Way
from tasks.repository.pack import LISTS

TARGET = 2 << 20
"""Decoded bytes after which a block is closed."""

LIST_TARGET = 1 << 20
"""The same of item lists, which take no more room for it: a few of their blocks are kept decoded, and most are decoded
for some of what they hold, night after night."""

_SETTLE = TARGET // 2
_SAMPLE_AGAIN = 24
_TURN = 0.04


class Profile:
    """How the blocks of one stretch of bytes are compressed: as a sample says, asked again after 1, 2, 4 … and at most
    `every` blocks, for what a file begins with is often not what it holds."""

    def __init__(self, fixed: Way | None = None, *, every: int = _SAMPLE_AGAIN) -> None:
        self._way = fixed
        self._every, self._next, self._left = every, 1, (1 << 62 if fixed else 0)
        self._watched = not fixed and every > 1
        self._shares = dict[Way, float]()

    def way(self, data: memoryview) -> Way:
        # Two threads may both find it due, and both sample: wasteful, never wrong.
        self._left -= 1
        if self._way is None or self._left < 0:
            self._way, self._left = compression.choose(data), self._next - 1
            # Where zstd takes its time anyway, a look costs little, and a wrong guess is not kept for long.
            slow = self._way.method in (ZSTD, FLOATS, DELTAS)
            self._next = min(2 * self._next, self._every // 3 or 1 if slow else self._every)
        return self._way

    def encode(self, data: memoryview) -> tuple[int, bytes | memoryview]:
        """`compression.encode`, and asked anew at once where a block comes out otherwise than that before it: a column
        of a table ends, or a picture in a disk's image, and what follows is of another kind."""
        way = self.way(data)
        done = compression.encode(data, way)
        if not self._watched:
            return done
        share = len(done[1]) / len(data)
        # Of each way: two threads may be at two blocks, the one before and the other behind such a turn.
        expected = self._shares.get(way, share)
        self._shares[way] = share
        turned = abs(share - expected) > _TURN or (way.method == RAW and not stretches.is_noise(data, gain=_TURN))
        if turned and (other := compression.choose(data)) != way:
            self._way, self._next, self._left = other, 1, 0
            self._shares[way] = expected
            again = compression.encode(data, other)
            self._shares[other] = len(again[1]) / len(data)
            done = min(done, again, key=lambda each: len(each[1]))
        return done


class Draft:
    """Chunks gathered for one block, to be closed at `target` bytes. Views into buffers where the bytes lie there, own
    bytes otherwise."""

    __slots__ = (
        *("_buffers", "_end", "_last", "_start"),
        *("held", "kind", "lengths", "names", "pieces", "profile", "size", "target"),
    )

    def __init__(self, kind: str, profile: Profile, buffers: Buffers) -> None:
        self.kind, self.profile, self._buffers = kind, profile, buffers
        self.target = LIST_TARGET if kind == LISTS else TARGET
        self._clear()

    def _clear(self) -> None:
        self.pieces: list[memoryview | bytes] = []
        self.names = bytearray()
        self.lengths = array("I")
        self.held: list[Buffer] = []
        self.size = 0
        self._last: Buffer | None = None
        self._end = self._start = 0

    def add(self, name: bytes, data: bytes) -> None:
        """A chunk that has bytes of its own."""
        self.pieces.append(data)
        self._note(name, len(data))

    def add_view(self, name: bytes, buffer: Buffer, start: int, end: int) -> None:
        """A chunk that lies in a buffer; one right behind the last extends its view."""
        if self._last is buffer and self._end == start:
            self._end = end
        else:
            self._extend_view(buffer, start, end)
        self._note(name, end - start)

    def add_views(self, names: bytes, buffer: Buffer, start: int, lengths: array[int]) -> None:
        """Chunks that lie in a buffer one behind the other."""
        size = sum(lengths)
        self._extend_view(buffer, start, start + size)
        self.names += names
        self.lengths.extend(lengths)
        self.size += size

    def settle(self) -> bool:
        """Called when the reader leaves a buffer. True if the block is large enough to go as it is; otherwise its
        views are copied, so that a few new chunks do not keep a whole buffer from use."""
        if self.size >= _SETTLE:
            return True
        self._close_view()
        self.pieces = [bytes(piece) for piece in self.pieces]
        self.release()
        return False

    def take(self) -> Draft:
        """The gathered block; this draft starts anew."""
        self._close_view()
        taken = Draft(self.kind, self.profile, self._buffers)
        for slot in ("pieces", "names", "lengths", "held", "size"):
            setattr(taken, slot, getattr(self, slot))
        self._clear()
        return taken

    def joined(self) -> memoryview:
        return memoryview(self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces))

    def release(self) -> None:
        """Let go of the buffers; the views into them are not to be used any more."""
        for buffer in self.held:
            self._buffers.release(buffer)
        self.held = []
        self._last = None

    def _note(self, name: bytes, length: int) -> None:
        self.names += name
        self.lengths.append(length)
        self.size += length

    def _extend_view(self, buffer: Buffer, start: int, end: int) -> None:
        if self._last is buffer and self._end == start:
            self._end = end
            return
        self._close_view()
        if self._last is not buffer:
            self._buffers.hold(buffer)
            self.held.append(buffer)
        self._last, self._start, self._end = buffer, start, end

    def _close_view(self) -> None:
        if self._last is not None and self._end > self._start:
            self.pieces.append(self._last.view[self._start : self._end])
            self._start = self._end

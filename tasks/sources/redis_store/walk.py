"""A walk over an RDB stream that comes in pieces: every key is told to a visitor. Values are passed over, not decoded.

Written for speed, as it runs while a server sends: a key that lies whole in the pieces at hand takes one pass of a flat
loop. What is larger is told piece by piece, so that memory stays bounded whatever a key holds.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, Protocol

from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.values import ELEMENTS, module_end, value_end

LARGE = 1 << 20
"""A value longer than this may be told in pieces."""


class Key(NamedTuple):
    """A key without its value. `expires` is milliseconds since 1970, -1 for never; `idle` are seconds since it was
    used, `frequency` is how often, where the server counts that, else -1. `kind` is the RDB's type."""

    database: int
    name: bytes
    kind: int
    expires: int = -1
    idle: int = -1
    frequency: int = -1


class Visitor(Protocol):
    """Who is told."""

    def function(self, code: bytes) -> None:
        """A library of functions: its code, as an encoded string."""
        ...

    def value(self, key: Key, data: bytes) -> None:
        """A key and its encoded value."""
        ...

    def begin(self, key: Key, count: int) -> None:
        """A key whose value follows in pieces: for `COUNTED` types `count` elements, else one that is all of it."""
        ...

    def piece(self, data: bytes, *, last: bool) -> None:
        """A piece of an element, or the `last` of it."""
        ...

    def finish(self) -> None:
        """The value is complete."""
        ...


_QUICKLIST_2 = rdb.QUICKLIST_2
_Steps = Generator[None, None, int]


class Walk:
    """Fed with a stream from its start. Raises `NotWalked` for what it does not know, `Damaged` for what makes no
    sense.

    `version` is known once nine bytes came, `ended` once the opcode EOF did. `aux` has what the server says of itself.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.version = 0
        self.ended = False
        self.aux: dict[str, str] = {}
        self._visitor = visitor
        self._data = b""
        self._at = 0
        self._database = 0
        self._steps = self._walk()
        next(self._steps)

    def feed(self, data: memoryview) -> None:
        """The next bytes; they are copied."""
        rest = self._data[self._at :]
        self._data = b"".join((rest, data)) if rest else bytes(data)
        self._at = 0
        if not self.ended:
            next(self._steps, None)

    @property
    def left(self) -> int:
        """Bytes that came and were not needed: behind the end, the checksum."""
        return len(self._data) - self._at

    def _walk(self) -> Generator[None, None, None]:
        while len(self._data) < rdb.MAGIC:
            yield
        self.version = rdb.version_of(self._data[: rdb.MAGIC])
        self._at = rdb.MAGIC
        while not self.ended:
            self._keys()
            if self.ended:
                return
            if len(self._data) - self._at > LARGE:
                yield from self._large()
            else:
                yield

    def _keys(self) -> None:
        """All that lies whole in the data at hand."""
        data = self._data
        end = len(data)
        at = start = self._at
        value = self._visitor.value
        make = tuple.__new__
        blobs, database, version, string_end = rdb.BLOBS, self._database, self.version, rdb.string_end
        expires = idle = frequency = -1
        try:
            while True:
                kind = data[at]
                at += 1
                if kind < 128:
                    size = data[at]
                    if size < 0x40:
                        at += 1
                        name = data[at : at + size]
                        at += size
                    else:
                        stop = rdb.string_end(data, at)
                        if stop > end:
                            raise IndexError
                        name, at = rdb.text(data, at).value, stop
                    begin = at
                    if kind in blobs:
                        size = data[at]
                        if size < 0x40:
                            at += 1 + size
                        elif size < 0x80:
                            at += 2 + ((size & 0x3F) << 8 | data[at + 1])
                        else:
                            at = string_end(data, at)
                    elif kind == _QUICKLIST_2 and data[at] == 1 and data[at + 1] < 0x40:
                        at = string_end(data, at + 2)
                    else:
                        at = value_end(data, at, kind, version)
                    if at > end:
                        raise IndexError
                    value(make(Key, (database, name, kind, expires, idle, frequency)), data[begin:at])
                    start = at
                    expires = idle = frequency = -1
                elif kind == rdb.EXPIRY:
                    expires = int.from_bytes(data[at : at + 8], "little", signed=True)
                    at += 8
                elif kind == rdb.IDLE:
                    idle, at = rdb.number(data, at)
                elif kind == rdb.FREQUENCY:
                    frequency = data[at]
                    at += 1
                elif kind == rdb.EXPIRY_SECONDS:
                    expires = int.from_bytes(data[at : at + 4], "little", signed=True) * 1000
                    at += 4
                else:
                    at = self._opcode(data, at, kind)
                    database = self._database
                    start = at
                    if self.ended:
                        break
        except IndexError:
            pass
        self._at = start

    def _opcode(self, data: bytes, at: int, kind: int) -> int:
        """Raises `IndexError` where it is not all there."""
        end = len(data)
        if kind == rdb.EOF:
            self.ended = True
            return at
        if kind == rdb.SELECT:
            database, at = rdb.number(data, at)
            if at <= end:
                self._database = database
        elif kind == rdb.RESIZE:
            _, at = rdb.number(data, at)
            _, at = rdb.number(data, at)
        elif kind == rdb.AUX:
            begin, stop = at, rdb.string_end(data, at)
            at = rdb.string_end(data, stop)
            if at <= end:
                name, content = rdb.text(data, begin).value, rdb.text(data, stop).value
                self.aux[name.decode("utf-8", "backslashreplace")] = content.decode("utf-8", "backslashreplace")
        elif kind == rdb.FUNCTION:
            begin, at = at, rdb.string_end(data, at)
            if at <= end:
                self._visitor.function(data[begin:at])
        elif kind == rdb.SLOT:
            for _ in range(3):
                _, at = rdb.number(data, at)
        elif kind == rdb.MODULE_AUX:
            at = module_end(data, at)
        else:
            raise rdb.NotWalked(f"the opcode {kind}")
        if at > end:
            raise IndexError
        return at

    def _large(self) -> Generator[None, None, None]:
        """One key (or opcode) that does not lie whole in the data at hand, however long it is."""
        expires = idle = frequency = -1
        while True:
            yield from self._need(24)
            kind = self._data[self._at]
            if kind == rdb.EXPIRY:
                expires = int.from_bytes(self._data[self._at + 1 : self._at + 9], "little", signed=True)
                self._at += 9
            elif kind == rdb.IDLE:
                idle, self._at = rdb.number(self._data, self._at + 1)
            elif kind == rdb.FREQUENCY:
                frequency = self._data[self._at + 1]
                self._at += 2
            else:
                break
        if kind >= 128:
            # Such as a library of functions of more than a megabyte: taken whole.
            while True:
                try:
                    self._at = self._opcode(self._data, self._at + 1, kind)
                    return
                except IndexError:
                    yield
        self._at += 1
        stop = yield from self._whole_string()
        key = Key(self._database, rdb.text(self._data[self._at : stop]).value, kind, expires, idle, frequency)
        self._at = stop
        yield from self._elements(key)
        self._visitor.finish()

    def _elements(self, key: Key) -> Generator[None, None, None]:
        visitor, kind = self._visitor, key.kind
        if kind in rdb.BLOBS:
            visitor.begin(key, 1)
            yield from self._pass_string(last=True)
            return
        strings, fixed = ELEMENTS.get(kind, 0), 0
        if kind == rdb.SORTED_SET:
            strings, fixed = 1, 8
        elif kind == rdb.HASH_TTL_VALKEY and self.version >= rdb.VALKEY:
            strings, fixed = 2, 8
        if not strings:
            yield from self._other(key)
            return
        count = yield from self._number()
        visitor.begin(key, count)
        while count:
            # What lies whole in the data at hand, fast.
            data, at, end = self._data, self._at, len(self._data)
            try:
                while count:
                    stop = rdb.string_end(data, at)
                    if strings == 2:
                        stop = rdb.string_end(data, stop)
                    stop += fixed
                    if stop > end:
                        raise IndexError
                    visitor.piece(data[at:stop], last=True)
                    at = stop
                    count -= 1
            except IndexError:
                pass
            self._at = at
            if not count:
                return
            if end - at <= LARGE:
                yield
                continue
            for left in range(strings, 0, -1):
                yield from self._pass_string(last=left == 1 and not fixed)
            if fixed:
                yield from self._pass(fixed, last=True)
            count -= 1

    def _other(self, key: Key) -> Generator[None, None, None]:
        """Types whose elements are not alike: all of it is one element."""
        kind, visitor = key.kind, self._visitor
        visitor.begin(key, 1)
        if kind == rdb.QUICKLIST_2:
            nodes = yield from self._pass_number()
            for _ in range(nodes):
                yield from self._pass_number()
                yield from self._pass_string()
        elif kind in (rdb.STREAM, rdb.STREAM_2, rdb.STREAM_3):
            yield from self._pass_stream(kind)
        elif kind == rdb.SORTED_SET_TEXT:
            for _ in range((yield from self._pass_number())):
                yield from self._pass_string()
                yield from self._need(1)
                first = self._data[self._at]
                yield from self._pass(1 + (first if first < 253 else 0))
        elif kind == rdb.HASH_TTL:
            yield from self._pass(8)
            for _ in range((yield from self._pass_number())):
                yield from self._pass_number()
                yield from self._pass_string()
                yield from self._pass_string()
        elif kind == rdb.HASH_LISTPACK_TTL:
            yield from self._pass(8)
            yield from self._pass_string()
        elif kind == rdb.MODULE:
            yield from self._pass_number()
            while True:
                opcode = yield from self._pass_number()
                if opcode == 0:
                    break
                if opcode in (1, 2):
                    yield from self._pass_number()
                elif opcode in (3, 4):
                    yield from self._pass(4 * (opcode - 2))
                elif opcode == 5:
                    yield from self._pass_string()
                else:
                    raise rdb.NotWalked(f"a module's value of the form {opcode}")
        else:
            raise rdb.NotWalked(f"the type {kind}")
        visitor.piece(b"", last=True)

    def _pass_stream(self, kind: int) -> Generator[None, None, None]:
        for _ in range((yield from self._pass_number())):
            yield from self._pass_string()
            yield from self._pass_string()
        for _ in range(3 if kind == rdb.STREAM else 8):
            yield from self._pass_number()
        for _ in range((yield from self._pass_number())):
            yield from self._pass_string()
            for _ in range(2 if kind == rdb.STREAM else 3):
                yield from self._pass_number()
            for _ in range((yield from self._pass_number())):
                yield from self._pass(24)
                yield from self._pass_number()
            for _ in range((yield from self._pass_number())):
                yield from self._pass_string()
                yield from self._pass(16 if kind == rdb.STREAM_3 else 8)
                yield from self._pass(16 * (yield from self._pass_number()))

    def _need(self, count: int) -> Generator[None, None, None]:
        """Until so many bytes are at hand."""
        while len(self._data) - self._at < count:
            yield

    def _whole_string(self) -> _Steps:
        while True:
            try:
                stop = rdb.string_end(self._data, self._at)
                if stop <= len(self._data):
                    return stop
            except IndexError:
                pass
            yield

    def _number(self) -> _Steps:
        while True:
            try:
                value, stop = rdb.number(self._data, self._at)
                if stop <= len(self._data):
                    self._at = stop
                    return value
            except IndexError:
                pass
            yield

    def _pass_number(self) -> _Steps:
        while True:
            try:
                value, stop = rdb.number(self._data, self._at)
                if stop <= len(self._data):
                    self._visitor.piece(self._data[self._at : stop], last=False)
                    self._at = stop
                    return value
            except IndexError:
                pass
            yield

    def _pass_string(self, *, last: bool = False) -> Generator[None, None, None]:
        """A string of any length; its head is no longer than 19 bytes."""
        while True:
            try:
                size = rdb.string_end(self._data, self._at) - self._at
            except IndexError:
                yield
            else:
                yield from self._pass(size, last=last)
                return

    def _pass(self, count: int, *, last: bool = False) -> Generator[None, None, None]:
        while True:
            here = min(count, len(self._data) - self._at)
            if here or not count:
                count -= here
                piece = self._data[self._at : self._at + here]
                self._at += here
                self._visitor.piece(piece, last=last and not count)
            if not count:
                return
            yield

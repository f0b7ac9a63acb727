"""A collection as columns, one file each, row by row in the order of ids: an export, for any program to read.

`collection.json` says what it is; `ids.jsonl`, `documents.jsonl`, `metadatas.jsonl` and `uris.jsonl` have one JSON
value a line; `vectors.f32` has the vectors, `dimension` little endian float32 each, one after the other.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from blake3 import blake3

from tasks.item import Stream
from tasks.sources.chroma.facts import Counting
from tasks.sources.chroma.records import BATCH, Batch, Collection, NotWhole, Record, Records

ABOUT, VECTORS = "collection.json", "vectors.f32"
TEXTS = ("documents.jsonl", "ids.jsonl", "metadatas.jsonl", "uris.jsonl")
FILES = (ABOUT, *TEXTS, VECTORS)
_FORMAT = 1

File = io.BufferedReader
Open = Callable[[str], File]
"""Opens one of `FILES`."""


def write(records: Records, folder: Path) -> tuple[Counting, dict[str, bytes]]:
    """Write a collection into an empty folder; what was counted, and a digest of each file."""
    from tasks.numbers import numpy as np

    counting = Counting(records.about)
    digests = {name: blake3() for name in FILES}
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, "xb")) for name in FILES}

        def put(name: str, data: bytes) -> None:
            files[name].write(data)
            digests[name].update(data)

        for batch in records.batches():
            counting.add(batch)
            put(VECTORS, np.ascontiguousarray(batch.vectors, "<f4").tobytes())
            put("ids.jsonl", _lines(record.id for record in batch.records))
            put("documents.jsonl", _lines(record.document for record in batch.records))
            put("uris.jsonl", _lines(record.uri for record in batch.records))
            put("metadatas.jsonl", _lines(record.metadata for record in batch.records))
        about = {"format": _FORMAT, "records": counting.records, **asdict(records.about)}
        put(ABOUT, json.dumps(about, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n")
    return counting, {name: digest.digest(16) for name, digest in digests.items()}


def _lines(values: Iterator[Any]) -> bytes:
    text = "".join(json.dumps(each, sort_keys=True, separators=(",", ":")) + "\n" for each in values)
    return text.encode()


class Columns:
    """`Records` of a collection that was written so. Raises `NotWhole` where its files are not."""

    def __init__(self, opener: Open) -> None:
        self._open = opener
        with opener(ABOUT) as file:
            held = _parsed(file.read(), ABOUT)
        if not isinstance(held, dict) or held.pop("format", None) != _FORMAT:
            raise NotWhole(f"`{ABOUT}` is not of format {_FORMAT}")
        self.count = int(held.pop("records"))
        self.about = Collection(**held)

    def batches(self) -> Iterator[Batch]:
        from tasks.numbers import numpy as np

        with ExitStack() as stack:
            texts = {name: stack.enter_context(self._open(name)) for name in TEXTS}
            vectors = stack.enter_context(self._open(VECTORS))
            left, width = self.count, 4 * (self.about.dimension or 0)
            while left:
                size = min(left, BATCH)
                columns = {name: [_parsed(each, name) for each in islice(file, size)] for name, file in texts.items()}
                data = vectors.read(size * width)
                if len(data) != size * width or any(len(column) != size for column in columns.values()):
                    raise NotWhole(f"the columns of `{self.about.label}` end too early")
                records = [Record(*each) for each in zip(*(columns[f"{name}.jsonl"] for name in _ORDER), strict=True)]
                yield Batch(records, np.frombuffer(data, "<f4").reshape(size, -1))
                left -= size
            if vectors.read(1) or any(file.read(1) for file in texts.values()):
                raise NotWhole(f"the columns of `{self.about.label}` go on after their end")


_ORDER = ("ids", "documents", "uris", "metadatas")


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise NotWhole(f"`{name}` holds something that is no JSON") from error


class StreamFile(io.RawIOBase):
    """A `Stream` as a file to read from."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._stream.readinto(memoryview(buffer))

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def opened(stream: Stream) -> File:
    return io.BufferedReader(StreamFile(stream), 1 << 20)

"""A vector segment's folder as hnswlib writes it: vectors, their labels, and for cosine their lengths.

header.bin (little endian, packed): version i32 (older ones have none), then u64 offset of level 0, greatest and current
number of elements, bytes of an element, offset of its label, offset of its vector; more. An element in data_level0.bin
is its links (count u16, flags u8, then u32s), its vector of f32 and its label u64. Chroma's fork of hnswlib keeps each
vector's length in length.bin, and for cosine the vector itself is normalized.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.sources.chroma.pickled import persisted
from tasks.sources.chroma.records import NotWhole

if TYPE_CHECKING:
    from tasks.numbers import NDArray
    from tasks.numbers import numpy as np

PICKLE = "index_metadata.pickle"
FILES = ("data_level0.bin", "header.bin", "length.bin", "link_lists.bin", PICKLE)
_HEADERS = (struct.Struct("<4x6Q"), struct.Struct("<6Q"))
_DELETED = 1  # in the flags
_PART = 4 << 20
_IDS = 10_000


class Hnsw:
    """Reads `folder`, which must not change meanwhile. Raises `NotWhole` where its files don't fit together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise NotWhole(f"`{missing[0]}` of the vector segment `{folder.name}` is not there")
        self.labels, self.taken = persisted(folder / PICKLE)
        header, size = (folder / "header.bin").read_bytes(), (folder / "data_level0.bin").stat().st_size
        for layout in _HEADERS:
            if len(header) >= layout.size:
                _, _, self._count, self._size, self._label, self._vector = layout.unpack_from(header)
                sound = 4 < self._vector < self._label == self._size - 8 and not (self._label - self._vector) % 4
                if sound and self._size < 1 << 24 and self._count * self._size <= size:
                    break
        else:
            raise NotWhole(f"the files of the vector segment `{folder.name}` don't fit together")
        self.dimension = (self._label - self._vector) // 4
        self._file = open(folder / "data_level0.bin", "rb", buffering=0)  # noqa: SIM115, it stays open as long as this
        weakref.finalize(self, self._file.close)

    def _parts(self) -> Iterator[Any]:
        """All elements, some at a time. Not by a map of the file: what was read of one counts as memory."""
        from tasks.numbers import numpy as np

        kind = np.dtype(
            {
                "names": ["links", "flags", "neighbours", "label"],
                "formats": ["<u2", "u1", ("<u4", (self._vector - 4) // 4), "<u8"],
                "offsets": [0, 2, 4, self._label],
                "itemsize": self._size,
            }
        )
        step = max(1, _PART // self._size)
        with open(self._folder / "data_level0.bin", "rb") as file:
            for start in range(0, self._count, step):
                read = file.read(min(step, self._count - start) * self._size)
                if len(read) % self._size or not read:
                    raise NotWhole(f"`data_level0.bin` of the vector segment `{self._folder.name}` ends early")
                yield np.frombuffer(read, kind)

    @cached_property
    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The labels in use, sorted, and the row of each. Raises `NotWhole` where an id has none, or more rows are in
        use than there are ids."""
        from tasks.numbers import numpy as np

        labels, deleted = np.zeros(self._count, np.int64), np.zeros(self._count, bool)
        at = 0
        for part in self._parts():
            labels[at : at + len(part)] = part["label"].view(np.int64)
            deleted[at : at + len(part)] = part["flags"] & _DELETED
            at += len(part)
        alive = np.flatnonzero(~deleted)
        labels = labels[alive]
        order = np.argsort(labels, kind="stable")
        labels, alive = labels[order], alive[order]
        if len(alive) != len(self.labels) or (labels[1:] == labels[:-1]).any():
            raise NotWhole(
                f"the vector segment `{self._folder.name}` holds {len(alive)} vectors for {len(self.labels)} ids"
            )
        for batch in self.labels.batches(_IDS):
            wanted = np.array(batch, np.int64)
            if (wanted < 0).any() or (labels[_places(labels, wanted)] != wanted).any():
                raise NotWhole(f"an id of the vector segment `{self._folder.name}` has no vector")
        return labels, alive

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id; -1 where it has none. Raises `NotWhole`."""
        from tasks.numbers import numpy as np

        labels, alive = self._rows
        wanted = np.array(self.labels.find(names), np.int64)
        if not len(labels):
            return wanted
        return np.where(wanted < 0, -1, alive[_places(labels, wanted)])

    @cached_property
    def _lengths(self) -> NDArray[np.float32]:
        from tasks.numbers import numpy as np

        lengths = np.fromfile(self._folder / "length.bin", "<f4")
        if len(lengths) < self._count:
            raise NotWhole(f"`length.bin` of the vector segment `{self._folder.name}` is cut short")
        return lengths

    def vectors(self, rows: NDArray[np.int64], *, normalized: bool) -> NDArray[np.float32]:
        """The vectors of some rows, as Chroma itself gives them. `normalized`: of a cosine collection."""
        from tasks.numbers import numpy as np

        number, size, places = self._file.fileno(), 4 * self.dimension, (rows * self._size + self._vector).tolist()
        read = b"".join([os.pread(number, size, place) for place in places])
        if len(read) < size * len(rows):
            raise NotWhole(f"`data_level0.bin` of the vector segment `{self._folder.name}` ends early")
        vectors = np.frombuffer(read, "<f4").reshape(len(rows), self.dimension)
        return vectors * self._lengths[rows][:, None] if normalized else vectors

    def check(self) -> None:
        """Raises `NotWhole` where ids and vectors don't belong together or a link leads nowhere."""
        from tasks.numbers import numpy as np

        _ = self._rows, self._lengths
        most = (self._vector - 4) // 4
        for part in self._parts():
            used = np.arange(most) < part["links"][:, None]
            if (part["links"] > most).any() or (part["neighbours"][used] >= self._count).any():
                raise NotWhole(f"a link of the vector segment `{self._folder.name}` leads nowhere")


def _places(labels: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each is in `labels`, if it is there at all; within it in any case."""
    from tasks.numbers import numpy as np

    return np.minimum(np.searchsorted(labels, wanted), max(len(labels) - 1, 0))

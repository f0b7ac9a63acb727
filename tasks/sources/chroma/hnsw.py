"""A vector segment's folder as hnswlib writes it: vectors, their labels, and for cosine their lengths.

header.bin (little endian, packed): version i32 (older ones have none), then u64 offset of level 0, greatest and current
number of elements, bytes of an element, offset of its label, offset of its vector; more. An element in data_level0.bin
is its links (count u16, flags u8, then u32s), its vector of f32 and its label u64. Chroma's fork of hnswlib keeps each
vector's length in length.bin, and for cosine the vector itself is normalized.
"""

from __future__ import annotations

import struct
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


class Hnsw:
    """Reads `folder`, which must not change meanwhile. Raises `NotWhole` where its files don't fit together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise NotWhole(f"`{missing[0]}` of the vector segment `{folder.name}` is not there")
        self._labels, self.taken = persisted(folder / PICKLE)
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

    @cached_property
    def _elements(self) -> Any:
        from tasks.numbers import numpy as np

        kind = np.dtype(
            {
                "names": ["links", "flags", "neighbours", "vector", "label"],
                "formats": ["<u2", "u1", ("<u4", (self._vector - 4) // 4), ("<f4", self.dimension), "<u8"],
                "offsets": [0, 2, 4, self._vector, self._label],
                "itemsize": self._size,
            }
        )
        if not self._count:
            return np.zeros(0, kind)
        return np.memmap(self._folder / "data_level0.bin", kind, "r", shape=(self._count,))

    @cached_property
    def places(self) -> dict[str, int]:
        """The row of each id. Raises `NotWhole` where an id has none, or more rows are in use than there are ids."""
        from tasks.numbers import numpy as np

        elements = self._elements
        alive = np.flatnonzero((elements["flags"] & _DELETED) == 0)
        rows = dict(zip(elements["label"][alive].tolist(), alive.tolist(), strict=True))
        if len(rows) != len(self._labels) or len(alive) != len(rows):
            raise NotWhole(
                f"the vector segment `{self._folder.name}` holds {len(alive)} vectors for {len(self._labels)} ids"
            )
        try:
            return {name: rows[label] for name, label in self._labels.items()}
        except KeyError as error:
            raise NotWhole(f"an id of the vector segment `{self._folder.name}` has no vector") from error

    @cached_property
    def _lengths(self) -> NDArray[np.float32]:
        from tasks.numbers import numpy as np

        lengths = np.fromfile(self._folder / "length.bin", "<f4")
        if len(lengths) < self._count:
            raise NotWhole(f"`length.bin` of the vector segment `{self._folder.name}` is cut short")
        return lengths

    def vectors(self, rows: list[int], *, normalized: bool) -> NDArray[np.float32]:
        """The vectors of some rows, as Chroma itself gives them. `normalized`: of a cosine collection."""
        from tasks.numbers import numpy as np

        vectors = np.asarray(self._elements["vector"][rows], np.float32)
        return vectors * self._lengths[rows][:, None] if normalized else vectors

    def check(self) -> None:
        """Raises `NotWhole` where ids and vectors don't belong together or a link leads nowhere."""
        from tasks.numbers import numpy as np

        _ = self.places, self._lengths
        links, most = self._elements["links"], self._elements["neighbours"].shape[1:]
        for start in range(0, self._count, 1 << 14):
            part = self._elements[start : start + (1 << 14)]
            used = np.arange(most[0]) < links[start : start + (1 << 14), None]
            if (links[start : start + (1 << 14)] > most[0]).any() or (part["neighbours"][used] >= self._count).any():
                raise NotWhole(f"a link of the vector segment `{self._folder.name}` leads nowhere")

"""The vector index files of hnswlib, as Chroma keeps them: what their header says of the rows beside it.

Layout: `saveIndex` and `persistDirty` of https://github.com/chroma-core/hnswlib, `hnswalg.h`.
"""

from __future__ import annotations

import os
import struct

from tasks.sources.file_reader import open_for_reading
from tasks.sources.open_folders import Descriptor

ROWS = b"data_level0.bin"
"""Row by row: a count of links and the links, the vector, the label."""

_HEADER = b"header.bin"
# Start of the rows; greatest and present number of them; a row's size; where in it the label and the vector begin; the
# highest level; entry point; most links of a row above level 0, on it, and as asked for; two parameters of the build.
_FIELDS = struct.Struct("<6QiI3QdQ")
_VERSIONED = struct.Struct("<i")
_LINK, _LABEL = 4, 8


def columns(header: bytes, start: bytes, size: int) -> tuple[int, ...]:
    """Bytes of a row that are links, vector and label, in a file of `size` bytes that begins with `start`; () where
    header and file do not fit each other."""
    if len(header) not in (_FIELDS.size, _VERSIONED.size + _FIELDS.size) or len(start) < _LINK:
        return ()
    fields = _FIELDS.unpack(header[-_FIELDS.size :])
    _, greatest, present, row, label, vector, _, _, _, most_links, _, _, _ = fields
    links = _LINK * (1 + most_links)
    shape = (links, label - vector, row - label)
    fits = vector == links and label > vector and shape[2] == _LABEL and 0 < present <= greatest
    # The upper half of the count holds marks, such as that the row is deleted.
    if not fits or size < row or size % row or int.from_bytes(start[:2], "little") > most_links:
        return ()
    return shape


def columns_beside(folder: Descriptor, size: int, *, own: bool) -> tuple[int, ...]:
    """The same of `ROWS` in an open folder; () as well where either can't be read. `own`: see `open_for_reading`."""
    try:
        return columns(_start(folder, _HEADER, own), _start(folder, ROWS, own), size)
    except OSError:
        # Whoever reads the whole file says what is wrong with it.
        return ()


def _start(folder: Descriptor, name: bytes, own: bool) -> bytes:
    file = Descriptor(open_for_reading(folder, name, own=own))
    return os.read(file.number, 256)

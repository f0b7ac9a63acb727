"""Where a stream is cut into chunks: whole, at fixed pages, or by content. FORMAT.md, *Chunks, blocks, packs*.

Content-defined: FastCDC (Xia et al., USENIX ATC 2016, and the 2020 revision) by pyfastcdc.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Protocol

from tasks.errors import BackupError

WHOLE_LIMIT = 64 << 10
"""A stream of at most so many bytes is one chunk."""

GREATEST = 2 << 20
"""No chunk is larger, whatever the cut."""

MOST_CHUNKS = 5 << 18
"""Of one stream, about: a worker holds some 60 bytes of each."""

_SQLITE = b"SQLite format 3\0"
_CONTENT = {
    # cut, named after the KiB of its chunks: least chunk, where a cut becomes more likely, greatest chunk, and how much
    # more likely, as a power of 2. The first two are for streams of small records that change anywhere, the third for
    # large ones of these. From there on no cut is unlikely in any stretch: with chunks as long, half as many bytes are
    # looked at, and a change costs about as much.
    "c1": (256, 768, 4 << 10, 2),
    "c4": (1 << 10, 3 << 10, 16 << 10, 2),
    "c16": (11 << 10, 11 << 10, 64 << 10, 1),
    "c64": (44 << 10, 44 << 10, 256 << 10, 1),
    "c256": (176 << 10, 176 << 10, 1 << 20, 1),
    "c1024": (704 << 10, 704 << 10, 2 << 20, 1),
}
_PAGES = {"p4": 4 << 10, "p8": 8 << 10, "p16": 16 << 10, "p32": 32 << 10, "p64": 64 << 10}
_KINDS = (tuple(_CONTENT), tuple(_PAGES))
_DOUBTFUL = 256
# SQLite files of so many bytes are cut in chunks of so many, at least: FORMAT.md says what that costs and gains.
_LARGE, _LEAST_OF_LARGE = 128 << 20, 16 << 10
# What changes in a model is long stretches, and a chunk more at both ends of each: with 256 KiB for 400 MB, 4 % more.
_BY_SIZE = ((1 << 30, "c64"), (4 << 30, "c256"))

FINEST, COARSEST = "c1", "c1024"

CUTS = ("w", *_CONTENT, *_PAGES)


class Chunker(Protocol):
    """Cuts one stream, buffer by buffer."""

    def cut(self, data: memoryview, last: bool) -> list[int]:
        """Ends of chunks within `data`, which begins at a chunk's start; unless it is the last of the stream, what
        follows the last end must come again at the start of the next buffer."""
        ...


class Pages:
    """Chunks of one size: for files whose pages change in place."""

    def __init__(self, size: int) -> None:
        self._size = size

    def cut(self, data: memoryview, last: bool) -> list[int]:
        whole = len(data) // self._size * self._size
        ends = list(range(self._size, whole + 1, self._size))
        if last and whole < len(data):
            ends.append(len(data))
        return ends


class Content:
    """Chunks that end where the content says so: for what grows, shifts and moves."""

    def __init__(self, cut: str, seed: int) -> None:
        try:
            from pyfastcdc.cy import FastCDC
        except ImportError as error:
            raise BackupError(
                "pyfastcdc's compiled module is missing, and its pure Python stand-in is hundreds of times slower: "
                "install a wheel of pyfastcdc for this Python"
            ) from error
        least, average, greatest, likelier = _CONTENT[cut]
        self._cutter = FastCDC(average, min_size=least, max_size=greatest, normalized_chunking=likelier, seed=seed)

    def cut(self, data: memoryview, last: bool) -> list[int]:
        ends = list(accumulate([chunk.length for chunk in self._cutter.cut_buf(data)]))
        if not last:
            # A cut this close to the end may only be there because the buffer ends.
            del ends[bisect_right(ends, len(data) - _DOUBTFUL) :]
        return ends


class Cutting:
    """The chunkers of one repository; made once, used by one thread."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made: dict[str, Chunker] = {}

    def chunker(self, cut: str) -> Chunker:
        if cut not in self._made:
            self._made[cut] = Pages(_PAGES[cut]) if cut in _PAGES else Content(cut, self._seed)
        return self._made[cut]


def choose(size: int, start: memoryview, previous: str, hint: str) -> str:
    """How to cut a stream of about `size` bytes that begins with `start`: as last time, else as hinted, else to fit;
    but coarser where that would be too many chunks."""
    for wanted in (previous, hint):
        if wanted in CUTS and wanted != "w":
            return _coarse_enough(wanted, size)
    if start[: len(_SQLITE)] == _SQLITE:
        return _coarse_enough(_for_pages(int.from_bytes(start[16:18], "big"), size), size)
    return next((cut for limit, cut in _BY_SIZE if size < limit), COARSEST)


def least_length(size: int) -> int:
    """Bytes that the chunks of a stream of `size` bytes must have on average, or there are too many of them."""
    return size // MOST_CHUNKS


def _coarse_enough(cut: str, size: int) -> str:
    """The cut, or the first of its kind that is so: their names say how long chunks are."""
    coarser = next(kind[kind.index(cut) :] for kind in _KINDS if cut in kind)
    return next((each for each in coarser if int(each[1:]) << 10 > least_length(size)), coarser[-1])


def _for_pages(page: int, size: int) -> str:
    """The cut for an SQLite file of `size` bytes with pages of `page` bytes (which it writes as 1 for 65536): the least
    that two pages fit into, and no chunk of a large file is smaller than 16 KiB. Names of single pages cost 1 % of a
    first night; a source whose rows change all over hints at single pages."""
    least = max(2 * page, _LEAST_OF_LARGE if size >= _LARGE else 0)
    return next((cut for cut, length in _PAGES.items() if least <= length and page != 1), "p64")

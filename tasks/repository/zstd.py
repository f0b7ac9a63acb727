"""zstd as blocks are compressed with it: the settings, and frames that are not believed."""

from __future__ import annotations

import threading

import zstandard

from tasks.numbers import Bytes

_PARAMETERS: dict[str, tuple[int, dict[str, int]]] = {
    # level, and what differs from it
    "fast": (1, {}),
    # zstd 3, whose table of short matches fits the cache nearest to a core: 10-30 % less time than with tables that
    # reach what zstd 4 does, for 0.2-1.4 % more bytes.
    "strong": (3, {"chain_log": 14}),
    # For what lies between floats, such as the text of a vector store, most of whose time it is: a quarter less
    # than "strong" takes, for 5-8 % more bytes of text, which are 3 % of the store.
    "between": (1, {"hash_log": 15}),
    # For numbers of which there are few different ones: zstd 3 looks for five bytes that come again, these have four.
    # 15 % less than "strong" takes, for 10 % more time.
    "words": (3, {"min_match": 4, "chain_log": 15}),
    # Planes hold either almost constant bytes or noise: long matches, a tiny table, and noise is given up at once.
    "planes": (1, {"min_match": 7, "hash_log": 6}),
}
_local = threading.local()


def compressor(strength: str) -> zstandard.ZstdCompressor:
    """This thread's own compressor: they must not be shared."""
    made: dict[str, zstandard.ZstdCompressor] = _local.__dict__
    if strength not in made:
        level, differing = _PARAMETERS[strength]
        parameters = zstandard.ZstdCompressionParameters.from_level(level, **differing)
        made[strength] = zstandard.ZstdCompressor(compression_params=parameters)
    return made[strength]


def decompress(data: bytes | memoryview, size: int) -> bytes:
    """A frame of at most `size` decoded bytes, and nothing behind it. Raises `ValueError`."""
    # A size that the frame claims is allocated before anything is decoded, whatever `max_output_size` says.
    decoded_size(data, size)
    try:
        return _decompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def decoded_size(data: bytes | memoryview, most: int) -> int:
    """How many bytes a frame says that it is, decoded. Raises `ValueError` if it does not, or if that is more than
    `most`; or if it is no frame."""
    try:
        size: int = zstandard.frame_content_size(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if not 0 <= size <= most:
        raise ValueError("a block of another size than listed")
    return size


def decompress_into(space: Bytes, data: bytes | memoryview) -> None:
    """A frame that fills the space, and nothing behind it. Raises `ValueError`; part of it may be there then."""
    try:
        with _decompressor().stream_reader(data, read_across_frames=True, closefd=False) as reader:
            if reader.readinto(space) != len(space) or reader.read(1):
                raise ValueError("a block of another size than listed")
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's own."""
    made: dict[str, zstandard.ZstdDecompressor] = _local.__dict__
    if "decompressor" not in made:
        made["decompressor"] = zstandard.ZstdDecompressor()
    return made["decompressor"]

"""Cuts must depend on the bytes alone: not on how they were read, nor on what lies before or after."""

from __future__ import annotations

import random
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc.cy import FastCDC

from tasks.errors import BackupError
from tasks.repository.buffers import SIZE
from tasks.repository.chunker import CUTS, GREATEST, MOST_CHUNKS, Chunker, Cutting, choose

SEED = 0x3FFF_0000_1234_5678
STREAMED = [cut for cut in CUTS if cut != "w"]
PAGES = {f"p{size}": size << 10 for size in (4, 8, 16, 32, 64)}
LEAST = {"c1": 256, "c4": 1 << 10, "c16": 11 << 10, "c64": 44 << 10, "c256": 176 << 10, "c1024": 704 << 10, **PAGES}
MOST = {"c1": 4 << 10, "c4": 16 << 10, "c16": 64 << 10, "c64": 256 << 10, "c256": 1 << 20, "c1024": 2 << 20, **PAGES}

LENGTH = {cut: int(cut[1:]) << 10 for cut in STREAMED}


def sample(seed: int, size: int) -> bytes:
    """Noise, text that repeats and runs of one byte: a run has no place to cut, and is cut at the greatest length."""
    chance, made = random.Random(seed), bytearray()
    while len(made) < size:
        length = chance.randrange(1, 1 << 20)
        kind = chance.randrange(3)
        if kind == 0:
            made += chance.randbytes(length)
        elif kind == 1:
            made += (b"%d the quick brown fox\n" % chance.randrange(1000)) * (length // 24 + 1)
        else:
            made += bytes([chance.randrange(256)]) * (3 * length)
    return bytes(made[:size])


def whole(cutter: Chunker, data: bytes) -> list[int]:
    return list(cutter.cut(memoryview(data), True))


def buffered(cutter: Chunker, data: bytes, room: int, sizes: list[int]) -> list[int]:
    """Cut as the engine does: buffer by buffer, what follows the last cut comes again. The first buffer has `room`
    bytes; each next one is full as soon as it can be, or ends early where `sizes` says how much was read."""
    ends: list[int] = []
    start, filled = 0, min(room, len(data))
    last = filled == len(data) and filled < room
    for turn in range(10_000):
        begin = start
        for end in cutter.cut(memoryview(data)[begin:filled], last):
            ends.append(begin + end)
            start = begin + end
        if last:
            return ends
        read = SIZE - (filled - start) if not sizes else max(1, min(sizes[turn % len(sizes)], SIZE - (filled - start)))
        # The end of a stream shows only when a read finds nothing more.
        last = filled + read > len(data)
        filled = min(filled + read, len(data))
    raise AssertionError("no progress")


@pytest.mark.parametrize("cut", STREAMED)
@settings(max_examples=12)
@given(seed=st.integers(0, 1 << 40))
def test_cutting_buffer_by_buffer_gives_the_cuts_of_one_run(cut: str, seed: int) -> None:
    chance = random.Random(seed)
    data = sample(seed, chance.randrange(64 << 10, 14 << 20))
    room = chance.randrange((64 << 10) + 1, SIZE)
    cutter = Cutting(SEED).chunker(cut)
    assert buffered(cutter, data, room, []) == whole(cutter, data)


@pytest.mark.parametrize("cut", STREAMED)
@pytest.mark.parametrize("size", [SIZE - 1, SIZE, SIZE + 1, 2 * SIZE, 3 * SIZE - 255, 3 * SIZE - 257])
def test_a_stream_that_ends_near_a_buffers_end_is_cut_as_in_one_run(cut: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    cutter = Cutting(SEED).chunker(cut)
    assert buffered(cutter, data, SIZE, []) == whole(cutter, data)


@pytest.mark.parametrize("cut", STREAMED)
def test_a_buffer_may_end_anywhere_around_a_true_cut(cut: str) -> None:
    data = random.Random(9).randbytes(6 << 20)
    cutter = Cutting(SEED).chunker(cut)
    right = whole(cutter, data)
    for around in right[1:6]:
        for off in (-300, -257, -256, -255, -2, -1, 0, 1, 2, 255, 256, 257, 300):
            assert buffered(cutter, data, around + off, []) == right, f"a buffer that ends {off} bytes behind a cut"


@pytest.mark.parametrize("cut", ["c64", "c256"])
def test_short_reads_change_no_cut(cut: str) -> None:
    data = sample(5, 3 << 20)
    cutter = Cutting(SEED).chunker(cut)
    assert buffered(cutter, data, 200_000, [1, 70_000, 4096, 300_000]) == whole(cutter, data)


@pytest.mark.parametrize("cut", STREAMED)
@settings(max_examples=8)
@given(seed=st.integers(0, 1 << 40))
def test_chunks_are_neither_too_short_nor_too_long_and_miss_no_byte(cut: str, seed: int) -> None:
    size = random.Random(seed).randrange(1, 8 << 20)
    ends = whole(Cutting(SEED).chunker(cut), sample(seed, size))
    lengths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    assert ends[-1] == size
    assert all(LEAST[cut] <= length for length in lengths[:-1])
    assert all(0 < length <= MOST[cut] <= GREATEST for length in lengths)


@pytest.mark.parametrize("cut", ["c1", "c4", "c64", "c256", "c1024"])
def test_the_average_chunk_of_noise_has_about_the_promised_size(cut: str) -> None:
    expected = int(cut[1:]) << 10
    size = min(48 << 20, 4096 * expected)
    chunks = len(whole(Cutting(SEED).chunker(cut), random.Random(3).randbytes(size)))
    assert 0.75 * expected < size / chunks < 1.25 * expected


@pytest.mark.parametrize("cut", ["c1", "c64", "c256"])
def test_bytes_put_in_front_move_the_cuts_along(cut: str) -> None:
    data = random.Random(4).randbytes(12 << 20)
    cutter = Cutting(SEED).chunker(cut)
    before = set(whole(cutter, data))
    after = {end - 777 for end in whole(cutter, random.Random(1).randbytes(777) + data)}
    assert len(before & after) > 0.8 * len(before)


def test_another_seed_cuts_elsewhere() -> None:
    data = random.Random(4).randbytes(8 << 20)
    ours, theirs = (set(whole(Cutting(seed).chunker("c64"), data)) for seed in (SEED, SEED + 2))
    assert len(ours & theirs) < 0.05 * len(ours)


@pytest.mark.parametrize("cut", STREAMED)
def test_nothing_has_no_chunk(cut: str) -> None:
    cutter = Cutting(SEED).chunker(cut)
    assert whole(cutter, b"") == []
    assert list(cutter.cut(memoryview(b""), False)) == []


def test_the_greatest_chunk_fits_into_a_buffer_beside_the_rest_of_another() -> None:
    assert 2 * GREATEST <= SIZE
    assert max(MOST.values()) == GREATEST


@pytest.mark.parametrize(
    ("size", "start", "previous", "hint", "chosen"),
    [
        (100_000, b"", "", "", "c64"),
        ((1 << 30) - 1, b"", "", "", "c64"),
        (1 << 30, b"", "", "", "c256"),
        (4 << 30, b"", "", "", "c1024"),
        (1 << 45, b"", "", "", "c1024"),
        (-1, b"", "", "", "c64"),
        (100_000, b"SQLite format 3\0\x02\0 and so on", "", "", "p4"),
        (100_000, b"SQLite format 3\0\x10\0 and so on", "", "", "p8"),
        ((128 << 20) - 1, b"SQLite format 3\0\x10\0 and so on", "", "", "p8"),
        (128 << 20, b"SQLite format 3\0\x10\0 and so on", "", "", "p16"),
        (128 << 20, b"SQLite format 3\0\x10\0 and so on", "p8", "", "p8"),
        (128 << 20, b"SQLite format 3\0\x02\0 and so on", "", "", "p16"),
        (1 << 30, b"SQLite format 3\0\x20\0 and so on", "", "", "p16"),
        (1 << 30, b"SQLite format 3\0\x40\0 and so on", "", "", "p32"),
        (1 << 30, b"SQLite format 3\0\x80\0 and so on", "", "", "p64"),
        (1 << 30, b"SQLite format 3\0\0\x01 and so on", "", "", "p64"),
        (1 << 30, b"SQLite format 3\0\xff\xff and so on", "", "", "p64"),
        (20_000_000_000, b"SQLite format 3\0\x10\0 and so on", "", "", "p16"),
        (1 << 40, b"SQLite format 3\0\x10\0 and so on", "", "", "p64"),
        (100_000, b"SQLite format 3\0\x10\0", "p16", "", "p16"),
        (1 << 40, b"SQLite format 3", "", "", "c1024"),
        (1 << 36, b"", "c64", "", "c64"),
        (1 << 36, b"", "c64", "p4", "c64"),
        (1 << 40, b"", "c64", "p4", "c1024"),
        (1 << 30, b"", "w", "p4", "p4"),
        (1 << 30, b"", "", "p4", "p4"),
        (1 << 30, b"", "", "c1", "c1"),
        (1 << 32, b"", "", "c1", "c4"),
        (20_000_000_000, b"", "", "c1", "c16"),
        (20_000_000_000, b"", "c1", "c1", "c16"),
        (1 << 20, b"", "c16", "c1", "c16"),
        (-1, b"", "", "c1", "c1"),
        (100_000, b"SQLite format 3\0", "c64", "", "c64"),
        (100_000, b"", "from a newer version", "nonsense", "c64"),
    ],
)
def test_the_cut_is_kept_else_hinted_else_fits(  # noqa: PLR0917 - the columns of the table
    size: int, start: bytes, previous: str, hint: str, chosen: str
) -> None:
    assert choose(size, memoryview(start), previous, hint) == chosen


@given(st.integers(-1, 1 << 44), st.sampled_from(STREAMED))
def test_no_stream_is_cut_into_many_more_chunks_than_a_workers_memory_is_meant_for(size: int, cut: str) -> None:
    chosen = choose(size, memoryview(b""), cut, "")
    assert chosen[0] == cut[0]
    assert (chosen == cut) == (size < MOST_CHUNKS * LENGTH[cut] or cut in {"c1024", "p64"})
    assert size < MOST_CHUNKS * LENGTH[chosen] or chosen in {"c1024", "p64"}
    assert choose(size, memoryview(b""), chosen, cut) == chosen, "and keeps it"


def test_the_slow_stand_in_of_pyfastcdc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfastcdc.cy", None)
    with pytest.raises(BackupError, match="compiled module is missing"):
        Cutting(SEED).chunker("c64")


def test_what_other_threads_are_warned_of_is_no_error_while_a_chunker_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Looking(ModuleType):
        @property
        def FastCDC(self) -> Any:  # noqa: N802 - its name there
            with ThreadPoolExecutor() as threads:
                seen.append(threads.submit(lambda: list(warnings.filters)).result())
            return FastCDC

    monkeypatch.setitem(sys.modules, "pyfastcdc.cy", Looking("pyfastcdc.cy"))
    before = list(warnings.filters)
    Cutting(SEED).chunker("c64")
    assert seen == [before]

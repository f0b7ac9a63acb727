"""Reading one file: whole, without its holes, and never more than it is safe to trust."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.item import Entry, Reading, Vanished
from tasks.sources.file_entry import OwnerNames, file_entry
from tasks.sources.file_reader import open_for_reading
from tasks.sources.file_stream import FileStream
from tasks.sources.open_folders import Descriptor
from tests.contracts.memory_items import read_all

OWNERS = OwnerNames()
BLOCK = 4096


def stream(path: Path, may_grow: bool = False, listed: Entry | None = None) -> FileStream:
    entry = listed or file_entry(os.fsencode(path.name), path.lstat(), OWNERS)
    return FileStream(os.open(path, os.O_RDONLY), entry, OWNERS, may_grow)


def settled(path: Path) -> Path:
    time.sleep(0.03)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(random.Random(1).randbytes(100_000))
    return settled(file)


@pytest.mark.parametrize("buffer", [1, 7, BLOCK, 99_999, 100_000, 100_001, 1 << 20])
def test_buffers_of_any_size_give_the_same_bytes(file: Path, buffer: int) -> None:
    opened = stream(file)
    assert read_all(opened, buffer) == file.read_bytes()
    assert opened.readinto(memoryview(bytearray(10))) == 0
    assert opened.close().flaw == ""


def test_an_empty_file_is_read_without_a_flaw(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    opened = stream(settled(tmp_path / "empty"))
    assert read_all(opened) == b""
    assert opened.close() == Reading(file_entry(b"empty", (tmp_path / "empty").stat(), OWNERS))


def test_a_file_that_only_says_that_it_is_empty_is_flawed() -> None:
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("there is no /proc here")
    opened = stream(path)
    assert read_all(opened) == b""
    assert opened.close().flaw == "partial"


def sparse(path: Path, data: dict[int, int], size: int) -> bytes:
    """A file with holes: `data` maps offsets to lengths. Returns the bytes of its data."""
    dice = random.Random(2)
    written = []
    with path.open("wb") as file:
        for offset, length in data.items():
            file.seek(offset)
            written.append(dice.randbytes(length))
            file.write(written[-1])
        file.truncate(size)
    if settled(path).stat().st_blocks * 512 >= size:
        pytest.skip("the file system of temporary files has no holes")
    return b"".join(written)


@pytest.mark.parametrize("buffer", [1000, BLOCK, 3 * BLOCK + 1, 1 << 20])
@pytest.mark.parametrize(
    ("data", "size"),
    [
        ({0: BLOCK}, 1 << 20),
        ({1 << 19: BLOCK}, 1 << 20),
        ({(1 << 20) - BLOCK: BLOCK}, 1 << 20),
        ({0: 3 * BLOCK, 1 << 18: BLOCK, 1 << 19: 5 * BLOCK}, 1 << 20),
        ({}, 1 << 20),
        ({1 << 40: BLOCK}, (1 << 40) + BLOCK),
    ],
)
def test_only_the_data_of_a_sparse_file_is_read(tmp_path: Path, data: dict[int, int], size: int, buffer: int) -> None:
    written = sparse(tmp_path / "sparse", data, size)
    opened = stream(tmp_path / "sparse")
    assert read_all(opened, buffer) == written
    entry, flaw = opened.close()
    assert flaw == ""
    assert entry.size == size
    assert entry.extents == tuple(data.items())
    assert entry.content_size == len(written)


def test_a_sparse_file_of_very_many_pieces_has_a_map_of_bounded_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(6000):
            os.pwrite(file.fileno(), b"%08d" % number, number * 4 * BLOCK)
        file.truncate(6000 * 4 * BLOCK)
    content = (tmp_path / "sparse").read_bytes()
    opened = stream(settled(tmp_path / "sparse"))
    data = read_all(opened, 1 << 20)
    extents = opened.close().entry.extents
    if extents is None:
        assert data == content
        return
    assert len(extents) == 6000
    whole, at = bytearray(len(content)), 0
    for start, length in extents:
        whole[start : start + length] = data[at : at + length]
        at += length
    assert whole == content


@pytest.mark.parametrize("size", [BLOCK, 6 * BLOCK, 1 << 19])
def test_a_sparse_file_that_shrinks_while_it_is_read_says_what_was_read(tmp_path: Path, size: int) -> None:
    written = sparse(tmp_path / "sparse", {0: 8 * BLOCK, 1 << 19: 8 * BLOCK}, 1 << 20)
    opened = stream(tmp_path / "sparse")
    buffer = memoryview(bytearray(BLOCK))
    assert opened.readinto(buffer) == BLOCK
    os.truncate(tmp_path / "sparse", size)
    data = bytes(buffer) + read_all(opened)
    entry, flaw = opened.close()
    assert flaw == "partial"
    assert entry.version[0] == 0
    assert entry.content_size == len(data)
    assert written.startswith(data)


def _append(file: Path) -> None:
    with file.open("ab") as log:
        log.write(b"more\n" * 1000)


def test_a_log_that_grows_is_taken_as_it_was_when_it_was_opened(file: Path) -> None:
    before = file.read_bytes()
    opened = stream(file, may_grow=True)
    buffer = memoryview(bytearray(1000))
    opened.readinto(buffer)
    _append(file)
    assert bytes(buffer) + read_all(opened) == before
    entry, flaw = opened.close()
    assert (entry.size, entry.version[0], flaw) == (100_000, 0, "")


def test_a_log_that_is_cut_off_while_it_is_read_is_partial(file: Path) -> None:
    opened = stream(file, may_grow=True)
    opened.readinto(memoryview(bytearray(1000)))
    os.truncate(file, 0)
    read_all(opened)
    entry, flaw = opened.close()
    assert (entry.size, flaw) == (1000, "partial")


@pytest.mark.parametrize(
    "change", [_append, lambda file: os.truncate(file, 5), lambda file: file.write_bytes(b"x" * 100_000), Path.touch]
)
def test_any_other_file_that_changes_while_it_is_read_is_partial(file: Path, change: Callable[[Path], object]) -> None:
    opened = stream(file)
    opened.readinto(memoryview(bytearray(1000)))
    change(file)
    read_all(opened)
    entry, flaw = opened.close()
    assert flaw == "partial"
    assert entry.version[0] == 0


def test_a_file_that_grows_without_end_is_not_read_without_end(file: Path) -> None:
    opened = stream(file)
    total = 0
    while count := opened.readinto(memoryview(bytearray(10_000))):
        total += count
        _append(file)
    assert total == 100_000


def test_a_file_that_changed_within_the_clocks_tick_is_marked_to_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    opened = stream(file)
    read_all(opened)
    assert opened.close().entry.version[0] == 0
    opened = stream(settled(file))
    read_all(opened)
    assert opened.close().entry.version[0] == file.stat().st_ctime_ns


def test_a_file_that_was_listed_with_another_size_is_read_whole(file: Path) -> None:
    # Both changes of one tick of the clock have the same times.
    listed = file_entry(b"file", file.stat(), OWNERS)._replace(size=5)
    opened = stream(file, listed=listed)
    assert read_all(opened) == file.read_bytes()
    assert opened.close().entry.size == 100_000


def test_times_beyond_what_64_bits_hold_are_cut(tmp_path: Path) -> None:
    file = Path("/dev/shm") / f"far-{os.getpid()}"  # noqa: S108 - takes any time
    file.touch()
    try:
        os.utime(file, (1e11, 1e11))
        assert file_entry(b"file", file.stat(), OWNERS).mtime_ns == (1 << 63) - 1
        opened = stream(settled(file))
        assert opened.close().flaw == ""
    finally:
        file.unlink()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "it")
    folder = Descriptor(os.open(tmp_path, os.O_RDONLY))
    number = open_for_reading(folder, b"it", own=True)
    with pytest.raises(Vanished):
        FileStream(number, Entry(b"it", "f"), OWNERS)


def test_reading_leaves_the_access_time_alone(file: Path) -> None:
    os.utime(file, ns=(1, 2))
    folder = Descriptor(os.open(file.parent, os.O_RDONLY))
    number = open_for_reading(folder, b"file", own=True)
    read_all(FileStream(number, file_entry(b"file", file.stat(), OWNERS), OWNERS))
    assert file.stat().st_atime_ns == 1

"""A file on its way to a service is read where it lies, and never counts as memory as a whole."""

from __future__ import annotations

import base64
import hashlib
import random
import sys
from pathlib import Path

import pytest

from tasks.destinations.body import Body, body_of, crc32c, is_whole
from tasks.destinations.destination import Lent
from tasks.errors import Missing

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(300_001)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pack"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("size", [1, 4096, 65_536, 300_001, MIB])
def test_its_pieces_are_all_of_it_however_often(file: Path, size: int) -> None:
    size = max(size, 1000)
    with body_of(file) as body:
        for _ in range(2):
            assert b"".join(body.pieces(size)) == CONTENT


def test_it_is_read_rewound_and_read_again(file: Path) -> None:
    with body_of(file) as body:
        assert len(body) == len(CONTENT)
        for _ in range(2):
            body.seek(0)
            assert b"".join(iter(lambda: body.read(70_000), b"")) == CONTENT
            assert body.read() == b""
        buffer = bytearray(10)
        body.seek(-10, 2)
        assert body.readinto(buffer) == 10
        assert buffer == CONTENT[-10:]
        assert body.readinto(buffer) == 0


def test_of_a_whole_number_of_pages_the_end_is_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    path.write_bytes(bytes(2 * MIB))
    with body_of(path) as body:
        assert body.read() == bytes(2 * MIB)
        assert body.read() == b""
        assert sum(map(len, body.pieces(MIB))) == 2 * MIB


def test_its_checksums_are_those_of_its_bytes(file: Path) -> None:
    for data in (file, CONTENT):
        with body_of(data) as body:
            assert body.md5 == hashlib.md5(CONTENT, usedforsecurity=False).digest()
            assert body.crc32c == crc32c(CONTENT)
            assert is_whole(CONTENT, body.crc32c)
            assert not is_whole(CONTENT[:-1], body.crc32c)
    assert crc32c(b"123456789") == base64.b64encode(0xE3069283.to_bytes(4, "big")).decode(), (
        "the standard's own example"
    )


def test_bytes_in_memory_are_given_out_too() -> None:
    body = Body(memoryview(CONTENT))
    assert b"".join(body.pieces(1000)) == CONTENT
    assert body.read(3) == CONTENT[:3]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_file_never_counts_as_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(random.Random(2).randbytes(MIB) * 64)
    with body_of(path) as body:
        before, most = mapped(), 0
        assert body.md5
        assert body.crc32c
        for _ in body.pieces(1 << 18):
            most = max(most, mapped() - before)
        while body.read(1 << 18):
            most = max(most, mapped() - before)
    assert most < 16 * MIB


def mapped() -> int:
    """Bytes of files that this process has in memory."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) << 10


def test_a_file_of_another_destination_is_read_and_not_mapped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk can't read ends who has mapped it."""
    monkeypatch.setattr("tasks.destinations.body.mmap.mmap", None)
    with body_of(Lent(file)) as body:
        assert body.read() == file.read_bytes()
    with pytest.raises(Missing), body_of(Lent(file.with_name("gone"))):
        pass

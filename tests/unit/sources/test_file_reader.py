"""A small file that is read in one go is read as a stream would read it, or is left to one."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.item import Entry, Unreadable
from tasks.sources import file_reader
from tasks.sources.file_entry import OwnerNames, file_entry
from tasks.sources.file_reader import FileReader
from tasks.sources.open_folders import Descriptor, OpenFolders
from tests.contracts.memory_items import read_all

OWNERS = OwnerNames()
SIZE = 5000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    file.write_bytes(random.Random(1).randbytes(SIZE))
    time.sleep(0.03)
    return file


def listed(file: Path) -> Entry:
    return file_entry(b"root/folder/" + os.fsencode(file.name), file.lstat(), OWNERS)


def reader_at(root: Path, *, may_grow: bool = False) -> FileReader:
    folders = OpenFolders(Descriptor(os.open(root, os.O_RDONLY)))
    return FileReader(folders, OWNERS, label=b"root", may_grow=may_grow)


def read(file: Path, entry: Entry) -> tuple[Entry | None, bytes]:
    buffer = memoryview(bytearray(1 << 17))
    found = reader_at(file.parents[1]).at_once(entry, buffer)
    return found, bytes(buffer[: found.size]) if found else b""


@pytest.mark.parametrize("size", [0, 1, SIZE, 65_535])
def test_what_is_read_at_once_is_what_a_stream_reads(file: Path, size: int) -> None:
    file.write_bytes(random.Random(2).randbytes(size))
    time.sleep(0.03)
    stream = reader_at(file.parents[1]).open(listed(file))
    data = read_all(stream)
    assert read(file, listed(file)) == (stream.close().entry, data)
    assert data == file.read_bytes()


def test_a_file_that_another_holds_a_lease_on_is_waited_for(file: Path) -> None:
    """As Samba does for its clients: it gives the lease back when it is asked to."""
    code = (
        "import fcntl, os, signal, sys, time\n"
        "number = os.open(sys.argv[1], os.O_RDWR)\n"
        "def give_back(*_):\n"
        "    time.sleep(0.2)\n"
        "    fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n"
        "signal.signal(signal.SIGIO, give_back)\n"
        "fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        if holder.stdout.readline() != "held\n":
            pytest.skip("no lease can be had here")
        assert read(file, listed(file))[0] is None  # it is left to a stream, which waits
        stream = reader_at(file.parents[1]).open(listed(file))
        holder.stdin.close()
    assert read_all(stream) == file.read_bytes()
    assert stream.close().flaw == ""


def test_files_whose_leases_are_never_given_back_are_waited_for_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not each as long again, however many there are."""
    monkeypatch.setattr(file_reader, "_LEASED_SECONDS", 0.3)
    code = (
        "import fcntl, os, signal, sys\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "number = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        if holder.stdout.readline() != "held\n":
            pytest.skip("no lease can be had here")
        reader = reader_at(file.parents[1])
        waits = list[float]()
        monkeypatch.setattr(time, "sleep", waits.append)
        for _ in range(3):
            with pytest.raises(Unreadable):
                reader.open(listed(file))
        holder.stdin.close()
    assert 0.25 < sum(waits) < 0.35


def test_where_few_files_may_be_open_few_are_held(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number:03}.log").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader = reader_at(tmp_path, may_grow=True)
    names = sorted(os.fsencode(path.name) for path in tmp_path.iterdir())
    before = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 60, hard))
    try:
        reader.hold(Descriptor(os.open(tmp_path, os.O_RDONLY)), b"root", names)
        held = len(os.listdir("/proc/self/fd")) - before
        assert 5 < held <= (before + 60) // 4 + 1
        with open(tmp_path / "000.log", "rb") as opened:  # there is room for others
            assert opened.read() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_extended_attributes_are_read_too(file: Path) -> None:
    try:
        os.setxattr(file, b"user.note", b"kept")
    except OSError:
        pytest.skip("the file system of temporary files has no attributes")
    time.sleep(0.03)
    entry, _ = read(file, listed(file))
    assert entry
    assert (b"user.note", b"kept") in entry.xattrs


def test_a_file_that_changed_just_now_is_marked_to_be_read_again(file: Path) -> None:
    file.write_bytes(b"just now")
    entry, data = read(file, listed(file))
    assert entry
    assert (entry.version[0], data) == (0, b"just now")


def test_one_that_may_have_holes_is_left_to_a_stream(file: Path) -> None:
    os.truncate(file, 65_536)
    assert read(file, listed(file))[0] is None


def test_one_that_may_grow_is_left_to_a_stream(file: Path) -> None:
    reader = reader_at(file.parents[1], may_grow=True)
    assert reader.at_once(listed(file), memoryview(bytearray(1 << 17))) is None


def _replace(file: Path) -> None:
    file.rename(file.with_name("moved"))
    file.write_bytes(b"x" * SIZE)


def _append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def _by_a_link(file: Path) -> None:
    file.rename(file.with_name("moved"))
    file.symlink_to("moved")


def _by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "change",
    [
        Path.touch,
        lambda file: file.write_bytes(b"x" * SIZE),
        lambda file: os.truncate(file, 5),
        _append,
        lambda file: file.chmod(0o600),
        _replace,
        _by_a_link,
        _by_a_pipe,
        _by_a_folder,
        Path.unlink,
    ],
)
def test_what_is_not_as_it_was_listed_is_left_to_a_stream(file: Path, change: Callable[[Path], object]) -> None:
    entry = listed(file)
    change(file)
    assert read(file, entry)[0] is None


def test_one_that_changes_while_it_is_read_is_left_to_a_stream(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, reads = listed(file), os.preadv

    def disturbed(*arguments: object) -> int:
        count = reads(*arguments)  # type: ignore[arg-type]
        file.write_bytes(b"y" * SIZE)
        return count

    monkeypatch.setattr(os, "preadv", disturbed)
    assert read(file, entry)[0] is None


def test_no_descriptor_is_left_open(file: Path) -> None:
    reader, entry, buffer = reader_at(file.parents[1]), listed(file), memoryview(bytearray(1 << 17))
    reader.at_once(entry, buffer)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        reader.at_once(entry, buffer)
    file.write_bytes(b"changed")
    for _ in range(20):
        reader.at_once(entry, buffer)
    assert len(os.listdir("/proc/self/fd")) == before

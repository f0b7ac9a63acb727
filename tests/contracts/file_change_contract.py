"""A source of files reads what changed, and names what it could not have whole."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.item import FILE, HARDLINK, Entry
from tasks.sources.filetree import FileTree
from tasks.sources.patterns import Patterns
from tests.contracts.child import Child, as_nobody, passable
from tests.contracts.file_source import FileSource, settle
from tests.contracts.memory_items import Saved, read_all


class FileChangeContract(FileSource):
    def test_a_second_capture_reads_nothing_again(self, source: FileTree, tree: Path) -> None:
        first = Saved(source.capture())
        second = Saved(source.capture(), first)
        assert len(first.read) == 3
        assert second.read == []
        assert list(second) == list(first)

    def test_only_what_changed_is_read_again(self, source: FileTree, tree: Path) -> None:
        first = Saved(source.capture())
        (tree / "one.txt").chmod(0o600)
        (tree / "inner" / "three").touch()
        assert Saved(source.capture(), first).read == [b"tree/inner/three", b"tree/one.txt"]

    def test_a_change_that_hides_behind_the_same_size_and_time_is_read(self, source: FileTree, tree: Path) -> None:
        first = Saved(source.capture())
        status = (tree / "one.txt").stat()
        (tree / "one.txt").write_bytes(b"two\n" * 1000)
        os.utime(tree / "one.txt", ns=(status.st_mtime_ns, status.st_mtime_ns))
        second = Saved(source.capture(), first)
        assert second.read == [b"tree/one.txt"]
        assert second[b"tree/one.txt"].content == b"two\n" * 1000

    def test_a_file_that_changed_just_now_is_read_again(self, source: FileTree, tree: Path) -> None:
        # Within one tick of the kernel's clock, a second change would leave no trace.
        (tree / "one.txt").write_bytes(b"new")
        first = Saved(source.capture())
        (tree / "one.txt").write_bytes(b"now")
        assert Saved(source.capture(), first)[b"tree/one.txt"].content == b"now"

    @pytest.mark.parametrize("size", [5000, 200_000])
    def test_what_is_written_through_a_memory_map_after_it_was_read_is_read_the_next_time(
        self, source: FileTree, tree: Path, size: int
    ) -> None:
        if not _shows_writes_through_maps(tree / "inner" / "nothing"):
            pytest.skip("this file system does not tell when a file is written to through a memory map")
        file = tree / "one.txt"
        file.write_bytes(b"1" * size)
        settle()
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
            mapped[:1] = b"2"
            settle()
            first = Saved(source.capture())
            mapped[:1] = b"3"
        assert first[b"tree/one.txt"].content == b"2" + b"1" * (size - 1)
        assert Saved(source.capture(), first)[b"tree/one.txt"].content == file.read_bytes()

    def test_a_file_that_changed_after_it_was_listed_is_taken_as_it_is(self, source: FileTree, tree: Path) -> None:
        opens = {item.entry.path: item for item in source.capture()}
        settle()
        (tree / "one.txt").write_bytes(b"newer")
        settle()
        opened = opens[b"tree/one.txt"].open
        assert opened
        stream = opened()
        assert read_all(stream) == b"newer"
        entry, flaw = stream.close()
        assert (entry.size, entry.mtime_ns, flaw) == (5, (tree / "one.txt").stat().st_mtime_ns, "")
        assert entry.version[0] == (tree / "one.txt").stat().st_ctime_ns

    def _changed_meanwhile(self, source: FileTree, change: Callable[[], object]) -> tuple[bytes, Entry, str]:
        item = next(item for item in source.capture() if item.entry.path == b"tree/one.txt")
        assert item.open
        stream = item.open()
        buffer = memoryview(bytearray(1000))
        assert stream.readinto(buffer) == 1000
        change()
        rest = read_all(stream)
        entry, flaw = stream.close()
        assert entry.version[0] == 0
        return bytes(buffer) + rest, entry, flaw

    def test_a_file_that_is_overwritten_while_it_is_read_is_partial(self, source: FileTree, tree: Path) -> None:
        def overwrite() -> None:
            with (tree / "one.txt").open("r+b") as file:
                file.write(b"TWO\n" * 1000)

        _, entry, flaw = self._changed_meanwhile(source, overwrite)
        assert (entry.size, flaw) == (4000, "partial")

    def test_a_file_that_shrinks_while_it_is_read_is_partial(self, source: FileTree, tree: Path) -> None:
        content, entry, flaw = self._changed_meanwhile(source, lambda: os.truncate(tree / "one.txt", 2000))
        assert (len(content), entry.size, flaw) == (2000, 2000, "partial")

    def test_a_file_that_vanished_is_named(self, source: FileTree, tree: Path) -> None:
        capture = source.capture()
        for item in capture:
            if item.entry.path == b"tree/inner":
                (tree / "one.txt").unlink()
                (tree / "inner" / "two.bin").unlink()
        assert {flaw.path: flaw.what for flaw in capture.flaws()} in (
            {b"tree/one.txt": "vanished", b"tree/inner/two.bin": "vanished"},
            {},  # a kind that holds files open still has them
        )

    @pytest.mark.parametrize("swap", ["link", "pipe", "folder", "nothing"])
    def test_what_takes_the_place_of_a_file_is_neither_followed_nor_waited_for(
        self, source: FileTree, tree: Path, swap: str
    ) -> None:
        items = {item.entry.path: item for item in source.capture()}
        capture = Saved.__new__(Saved)
        capture.flaws, capture.read = [], []
        file = tree / "one.txt"
        file.rename(tree / "moved")
        if swap == "link":
            file.symlink_to("/etc/passwd")
        elif swap == "pipe":
            os.mkfifo(file)
        elif swap == "folder":
            file.mkdir()
        kept = capture._keep(items[b"tree/one.txt"], None)
        if kept:  # a kind that holds files open still has it
            assert kept.content == b"one\n" * 1000
        else:
            assert [flaw.what for flaw in capture.flaws] == ["vanished"]

    def test_what_the_user_may_not_read_is_named(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        passable(tmp_path)
        (tree / "one.txt").chmod(0o000)
        (tree / "inner").chmod(0o000)
        flaws, problems = Child(as_nobody(lambda: (Saved(source.capture()).flaws, source.check()))).result()
        (tree / "inner").chmod(0o755)
        assert sorted((flaw.path, flaw.what) for flaw in flaws) == [  # each once
            (b"tree/inner", "unreadable"),
            (b"tree/one.txt", "unreadable"),
        ]
        fatal = [problem for problem in problems if problem.fatal]
        assert sorted(problem.what.split("`")[1] for problem in fatal) == ["tree/inner", "tree/one.txt"]
        excluded = [problem.advice.split("`")[1] for problem in fatal]
        assert sorted(excluded) == ["/inner", "/one.txt"]
        assert Patterns(excluded).match(b"one.txt")
        allowed = [problem.advice.split("`")[5] for problem in fatal]
        assert all(Patterns(allowed).match(flaw.path) for flaw in flaws)

    def test_a_name_of_an_unreadable_file_does_not_take_its_other_names_along(
        self, source: FileTree, tree: Path
    ) -> None:
        os.link(tree / "inner" / "two.bin", tree / "also")
        items = iter(source.capture())
        first = next(item for item in items if item.entry.path == b"tree/also")
        (tree / "also").rename(tree / "renamed")
        saved = Saved.__new__(Saved)
        saved.flaws, saved.read = [], []
        kept = saved._keep(first, None)
        other = next(item for item in items if item.entry.path == b"tree/inner/two.bin")
        assert other.entry.type == (HARDLINK if kept else FILE)


def _shows_writes_through_maps(file: Path) -> bool:
    """Whether a second write to a page changes the file's times, once the kernel has begun to write the page back."""
    start = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if start is None:
        return False
    file.write_bytes(bytes(10))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        settle()
        mapped[:1] = b"1"
        changed = file.stat().st_ctime_ns
        settle()
        start(opened.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), 3)
        mapped[:1] = b"2"
    return file.stat().st_ctime_ns != changed

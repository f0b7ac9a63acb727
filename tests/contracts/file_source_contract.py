"""What every source of files promises beside: all that a file is comes back, and what can't be had is named."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import Occupied, SourceError
from tasks.item import FILE, FOLDER, HARDLINK, SOCKET, Entry
from tasks.sources.filetree import FileTree
from tasks.sources.source import Restoring
from tests.contracts.child import Child, as_nobody
from tests.contracts.file_listing import listing
from tests.contracts.memory_items import Saved, read_all
from tests.contracts.source_contract import SourceContract, agree

SETTLED = 0.03
"""Seconds after which a change is old enough to be told from the next by its time."""

Make = Callable[..., FileTree]


def settle() -> None:
    time.sleep(SETTLED)


class FileSourceContract(SourceContract):
    @pytest.fixture
    def make(self) -> Make:
        """Makes a source of the kind, of the given paths, that takes every file; options by name."""
        raise NotImplementedError

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        tree = tmp_path / "tree"
        (tree / "inner").mkdir(parents=True)
        (tree / "empty").mkdir()
        (tree / "one.txt").write_bytes(b"one\n" * 1000)
        (tree / "inner" / "two.bin").write_bytes(bytes(range(256)) * 2000)
        (tree / "inner" / "nothing").touch()
        settle()
        return tree

    @pytest.fixture
    def source(self, make: Make, tree: Path) -> FileTree:
        return make(tree)

    @pytest.fixture
    def change(self, tree: Path) -> Callable[[], None]:
        def another_content() -> None:
            (tree / "inner" / "two.bin").write_bytes(b"other")

        return another_content

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def one_byte(copy: Path) -> None:
            file = copy / "tree" / "inner" / "two.bin"
            status = file.stat()
            content = bytearray(file.read_bytes())
            content[100_000] ^= 1
            file.write_bytes(content)
            os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))

        return one_byte

    @pytest.fixture
    def absent(self, make: Make, tmp_path: Path) -> FileTree:
        return make(tmp_path / "not there")

    def _comes_back(self, source: FileTree, tree: Path, into: Path) -> Saved:
        saved = Saved(source.capture())
        before = listing(tree)
        source.restore(saved, saved, into, Restoring())
        assert listing(into / tree.name) == before
        assert _told(tree) == _told(into / tree.name)
        assert source.not_restored == []
        assert agree(source.examine(into), saved.facts)
        return saved

    def test_plain_files_and_empty_folders_come_back(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        self._comes_back(source, tree, tmp_path / "copy")

    @pytest.mark.parametrize("mode", [0o000, 0o400, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o6711])
    def test_permissions_come_back(self, source: FileTree, tree: Path, tmp_path: Path, mode: int) -> None:
        if os.geteuid() and not mode & 0o400:
            pytest.skip("only root can read a file without permissions")
        (tree / "one.txt").chmod(mode)
        (tree / "empty").chmod(mode | 0o500 if os.geteuid() else mode)
        self._comes_back(source, tree, tmp_path / "copy")

    def test_owners_come_back_where_root_restores(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        if os.geteuid():
            pytest.skip("only root gives files away")
        os.chown(tree / "one.txt", 12345, 54321)
        os.chown(tree / "inner", 65534, 65534)
        os.symlink("x", tree / "link")
        os.chown(tree / "link", 12345, 54321, follow_symlinks=False)
        (tree / "one.txt").chmod(0o4755)
        self._comes_back(source, tree, tmp_path / "copy")

    def test_owners_stay_out_where_they_are_not_wanted(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        if os.geteuid():
            pytest.skip("only root gives files away")
        os.chown(tree / "one.txt", 12345, 54321)
        (tree / "one.txt").chmod(0o4755)
        saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring(owners=False))
        status = (tmp_path / "copy" / "tree" / "one.txt").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, 0o755)

    @pytest.mark.parametrize("seconds", [-1_000_000_000, -1, 0, 1, 7_258_118_400])
    def test_times_come_back_to_the_nanosecond(
        self, source: FileTree, tree: Path, tmp_path: Path, seconds: int
    ) -> None:
        when = seconds * 1_000_000_000 + 123_456_789
        os.symlink("x", tree / "link")
        for name in ("one.txt", "link", "empty", "inner"):
            os.utime(tree / name, ns=(when, when), follow_symlinks=False)
        os.utime(tree, ns=(when + 1, when + 1))
        assert tree.stat().st_mtime_ns == when + 1
        self._comes_back(source, tree, tmp_path / "copy")

    def test_symbolic_links_come_back_wherever_they_point(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        for name, target in {"a": "one.txt", "b": "/etc/passwd", "c": "nowhere", "d": "../..", "e": "inner"}.items():
            os.symlink(target, tree / name)
        os.symlink(b"\xff\n/..", os.fsencode(tree) + b"/f")
        saved = self._comes_back(source, tree, tmp_path / "copy")
        assert saved[b"tree/e"].entry.link == b"inner"

    def test_a_file_with_several_names_is_read_once_and_comes_back_as_one(
        self, make: Make, tree: Path, tmp_path: Path
    ) -> None:
        (tree / "z").mkdir()
        os.link(tree / "inner" / "two.bin", tree / "z" / "link")
        os.link(tree / "inner" / "two.bin", tree / "also")
        settle()
        saved = self._comes_back(make(tree), tree, tmp_path / "copy")
        assert saved[b"tree/also"].entry.type == FILE
        assert saved[b"tree/inner/two.bin"].entry[:2] == (b"tree/inner/two.bin", HARDLINK)
        assert saved[b"tree/z/link"].entry.link == b"tree/also"

    def test_names_of_one_file_in_two_paths_are_one_file(self, make: Make, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        (tmp_path / "a" / "file").write_bytes(b"x" * 1000)
        os.link(tmp_path / "a" / "file", tmp_path / "b" / "file")
        source = make(tmp_path / "a", tmp_path / "b")
        saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert saved.read == [b"a/file"]
        assert os.path.samefile(tmp_path / "copy" / "a" / "file", tmp_path / "copy" / "b" / "file")

    def test_extended_attributes_come_back(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        try:
            os.setxattr(tree / "one.txt", "user.origin", b"a\0b\xff")
        except OSError:
            pytest.skip("the file system of temporary files has no extended attributes")
        os.setxattr(tree / "one.txt", "user.empty", b"")
        os.setxattr(tree / "inner", "user.folder", b"1" * 200)
        (tree / "one.txt").chmod(0o400)
        saved = self._comes_back(source, tree, tmp_path / "copy")
        assert saved[b"tree/one.txt"].entry.xattrs == ((b"user.empty", b""), (b"user.origin", b"a\0b\xff"))

    @pytest.mark.needs("setfacl", "getfacl")
    def test_access_control_lists_come_back(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        for acl, name in (("u:12345:rw,g:54321:r,m::rwx", "one.txt"), ("u:1:r", "inner"), ("d:u:2:rwx", "inner")):
            command = ["setfacl", "-m", acl, str(tree / name)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("the file system of temporary files has no access control lists")
        self._comes_back(source, tree, tmp_path / "copy")

        def acls(folder: Path) -> list[str]:
            command = ["getfacl", "-R", "-n", "tree"]
            told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
            return sorted(told.split("\n\n"))  # it tells of them in no order

        assert "user:12345:rw-" in "".join(acls(tmp_path))
        assert acls(tmp_path / "copy") == acls(tmp_path)

    def test_holes_stay_holes(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        sizes = {"middle": 40 << 20, "end": 30 << 20, "only": 50 << 20}
        for name, size in sizes.items():
            with (tree / name).open("wb") as file:
                if name != "only":
                    file.write(b"begin" * 5000)
                if name == "middle":
                    file.seek(size - 7)
                    file.write(b"the end")
                file.truncate(size)
        settle()
        if (tree / "only").stat().st_blocks:
            pytest.skip("the file system of temporary files has no holes")
        saved = self._comes_back(source, tree, tmp_path / "copy")
        for name, size in sizes.items():
            copy = (tmp_path / "copy" / "tree" / name).stat()
            assert copy.st_size == size
            assert copy.st_blocks * 512 < 200_000
            assert len(saved[b"tree/" + name.encode()].content) < 200_000
        assert list(Saved(source.capture(), saved)) == list(saved)

    def test_a_pipe_comes_back_and_a_socket_is_named(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        os.mkfifo(tree / "pipe", 0o640)
        with socket.socket(socket.AF_UNIX) as listening:
            here = os.open(tree, os.O_RDONLY)
            listening.bind(f"/proc/self/fd/{here}/socket")  # a socket's path must be short
            os.close(here)
            saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert stat.S_ISFIFO((tmp_path / "copy" / "tree" / "pipe").stat().st_mode)
        assert saved[b"tree/socket"].entry.type == SOCKET
        assert len(source.not_restored) == 1
        assert "tree/socket" in source.not_restored[0]
        assert agree(source.examine(tmp_path / "copy"), saved.facts)

    @pytest.mark.parametrize(
        "name", [b"\xff\xfe\x80", b"new\nline", b"-rf", b" ", b"a" * 255, b"\x1b[31m", b"*", b"#", "ä".encode(), b"\\"]
    )
    def test_names_of_any_bytes_come_back(self, source: FileTree, tree: Path, tmp_path: Path, name: bytes) -> None:
        os.mkdir(os.fsencode(tree) + b"/" + name)
        for inner in (name, b"z"):
            descriptor = os.open(os.fsencode(tree) + b"/" + name + b"/" + inner, os.O_CREAT | os.O_WRONLY)
            os.write(descriptor, name)
            os.close(descriptor)
        saved = self._comes_back(source, tree, tmp_path / "copy")
        assert saved[b"tree/" + name + b"/z"].content == name

    def test_a_thousand_folders_in_each_other_come_back(self, make: Make, tmp_path: Path) -> None:
        here = os.open(tmp_path, os.O_RDONLY)
        for name in [b"tree"] + [b"deeper-and-deeper"] * 1000:
            os.mkdir(name, dir_fd=here)
            inner = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
            os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        settle()
        source = make(tmp_path / "tree")
        saved = self._comes_back(source, tmp_path / "tree", tmp_path / "copy")
        assert len(list(saved)) == 2 * 1001
        last = list(saved)[-2]
        source.restore(saved, [last], tmp_path / "one", Restoring())
        assert list(listing(tmp_path / "one"))[-1] == last.entry.path
        for folder in ("tree", "copy", "one"):  # pytest's own clean-up does not get down there
            subprocess.run(["rm", "-rf", str(tmp_path / folder)], check=True)

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
        _open_to_all(tmp_path)
        (tree / "one.txt").chmod(0o000)
        (tree / "inner").chmod(0o000)
        flaws, problems = Child(as_nobody(lambda: (Saved(source.capture()).flaws, source.check()))).result()
        (tree / "inner").chmod(0o755)
        assert {(flaw.path, flaw.what) for flaw in flaws} == {
            (b"tree/one.txt", "unreadable"),
            (b"tree/inner", "unreadable"),
        }
        assert {problem.what.split("`")[1] for problem in problems if problem.fatal} == {"tree/one.txt", "tree/inner"}

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

    def test_nothing_is_overwritten_unless_told_to(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        file = tmp_path / "copy" / "tree" / "one.txt"
        file.write_bytes(b"mine")
        with pytest.raises(Occupied, match="tree/"):
            source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert file.read_bytes() == b"mine"
        source.restore(saved, saved, tmp_path / "copy", Restoring(overwrite=True))
        assert listing(tmp_path / "copy" / "tree") == listing(tree)

    def test_a_single_file_comes_back_alone(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        saved = Saved(source.capture())
        source.restore(saved, [saved[b"tree/inner/two.bin"]], tmp_path / "copy", Restoring())
        assert {path for path, told in listing(tmp_path / "copy").items() if told["type"] != stat.S_IFDIR} == {
            b"tree/inner/two.bin"
        }
        assert (tmp_path / "copy/tree/inner/two.bin").read_bytes() == (tree / "inner/two.bin").read_bytes()

    def test_a_file_and_a_renamed_folder_are_roots_too(self, make: Make, tree: Path, tmp_path: Path) -> None:
        source = make(tree / "one.txt", {"path": tree / "inner", "name": "another"})
        saved = Saved(source.capture())
        assert [item.entry.path for item in saved] == [b"another", b"another/nothing", b"another/two.bin", b"one.txt"]
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert (tmp_path / "copy" / "one.txt").read_bytes() == b"one\n" * 1000
        assert agree(source.examine(tmp_path / "copy"), saved.facts)
        assert source.roots() == {"one.txt": str(tree / "one.txt"), "another": str(tree / "inner")}

    def test_patterns_choose_what_is_taken(self, make: Make, tree: Path) -> None:
        def taken(**options: object) -> list[bytes]:
            return [item.entry.path.removeprefix(b"tree/") for item in make(tree, **options).capture()]

        assert taken(include=["*.bin"]) == [b"tree", b"inner", b"inner/two.bin"]
        assert taken(include=["inner/"]) == [b"tree", b"inner", b"inner/nothing", b"inner/two.bin"]
        assert taken(include=["/one.*"]) == [b"tree", b"one.txt"]
        assert taken(include=["*.none"]) == []
        assert taken(exclude=["inner/"]) == [b"tree", b"empty", b"one.txt"]
        assert taken(exclude=["*", "!*.txt"]) == [b"tree", b"one.txt"]
        assert taken(include=["inner/"], exclude=["*.bin"]) == [b"tree", b"inner", b"inner/nothing"]

    def test_folders_of_caches_and_tagged_folders_keep_only_the_tag(self, make: Make, tree: Path) -> None:
        (tree / "inner" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n# cache")
        (tree / "empty" / "CACHEDIR.TAG").write_bytes(b"no signature")
        (tree / "empty" / ".nobackup").touch()
        paths = {item.entry.path for item in make(tree, exclude_caches=True).capture()}
        assert b"tree/inner/two.bin" not in paths
        assert {b"tree/inner", b"tree/inner/CACHEDIR.TAG", b"tree/empty/.nobackup"} <= paths
        paths = {item.entry.path for item in make(tree, exclude_if_present=[".nobackup"]).capture()}
        assert b"tree/inner/two.bin" in paths
        assert b"tree/empty/CACHEDIR.TAG" not in paths
        assert b"tree/empty/.nobackup" in paths

    def test_two_paths_of_one_name_are_refused_with_the_remedy(self, make: Make, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "other" / "tree").mkdir(parents=True)
        source = make(tree, tmp_path / "other" / "tree")
        with pytest.raises(SourceError, match=r'write one of them as \{ path = ".*", name = "tree-2" \}'):
            source.capture()
        assert "would both be `tree`" in source.check()[0].what

    def test_a_pattern_that_matches_nothing_and_an_empty_source_are_told(self, make: Make, tree: Path) -> None:
        problems = make(tree, include=["*.none"], exclude=["*.tmp", "*.bin"]).check()
        text = " ".join(problem.what for problem in problems)
        assert "`*.none` of `include` matches nothing" in text
        assert "`*.tmp` of `exclude` matches nothing" in text
        assert "*.bin" not in text
        assert "nothing to restore" in text
        assert not any(problem.fatal for problem in problems)

    def test_folders_come_with_their_own_entry(self, source: FileTree, tree: Path) -> None:
        item = next(iter(source.capture()))
        assert item.entry[:3] == (b"tree", FOLDER, stat.S_IMODE(tree.stat().st_mode))
        assert item.open is None


def _told(folder: Path) -> tuple[int, int, int, int]:
    status = folder.stat()
    return stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid


def _open_to_all(folder: Path) -> None:
    while folder != Path("/"):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent

"""All that a file is comes back from a source of files."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tasks.item import FILE, HARDLINK, SOCKET
from tasks.sources.filetree import FileTree
from tasks.sources.source import Restoring
from tests.contracts.file_listing import listing
from tests.contracts.file_source import FileSource, Make, settle
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree


class FileMetadataContract(FileSource):
    def _comes_back(self, source: FileTree, tree: Path, into: Path) -> Saved:
        saved = Saved(source.capture())
        before = listing(tree)
        assert source.restore(saved, saved, into, Restoring()) == []
        assert listing(into / tree.name) == before
        assert _told(tree) == _told(into / tree.name)
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
        missed = source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert stat.S_ISFIFO((tmp_path / "copy" / "tree" / "pipe").stat().st_mode)
        assert saved[b"tree/socket"].entry.type == SOCKET
        assert len(missed) == 1
        assert "tree/socket" in missed[0]
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


def _told(folder: Path) -> tuple[int, int, int, int]:
    status = folder.stat()
    return stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid

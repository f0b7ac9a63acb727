"""A local folder that is not there, that is not on its disk, or that holds what others have put there."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.destinations import Listed, Local
from tasks.destinations.local import LocalSettings
from tasks.errors import BackupError, Exists, Refused, Unavailable


class TestTheFolderItself:
    def test_is_never_made_by_a_backup(self, root: Path) -> None:
        local = Local(LocalSettings(path=root / "new"))
        for work in (
            lambda: local.put("a", b""),
            lambda: local.get("a"),
            lambda: list(local.list()),
            lambda: local.delete("a"),
        ):
            with pytest.raises(Unavailable, match="new` is not there: mount its disk"):
                work()
        assert list(root.iterdir()) == []

    def test_is_made_with_its_parents_when_it_is_prepared(self, root: Path) -> None:
        local = Local(LocalSettings(path=root / "a/b/c"))
        local.prepare()
        assert [stat.S_IMODE((root / path).stat().st_mode) for path in ("a", "a/b", "a/b/c")] == [0o700] * 3
        local.put("one", b"x")
        local.prepare()
        assert local.get("one") == b"x"

    def test_is_left_as_it_is_when_it_is_there(self, local: Local, root: Path) -> None:
        root.chmod(0o751)
        local.prepare()
        assert stat.S_IMODE(root.stat().st_mode) == 0o751

    def test_that_is_a_file_is_unavailable(self, root: Path) -> None:
        (root / "file").write_bytes(b"")
        with pytest.raises(BackupError, match="file"):
            Local(LocalSettings(path=root / "file")).prepare()
        with pytest.raises(Unavailable):
            list(Local(LocalSettings(path=root / "file")).list())

    def test_may_be_reached_by_a_link(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        Local(LocalSettings(path=tmp_path / "link")).put("a", b"x")
        assert (root / "a").read_bytes() == b"x"

    def test_stays_the_same_when_the_process_moves_on(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        local = Local(LocalSettings(path=Path("root")))
        monkeypatch.chdir("/")
        local.put("a", b"x")
        assert (root / "a").exists()

    @pytest.mark.parametrize("point", [".", "no-such-point"])
    def test_is_unavailable_while_nothing_is_mounted(self, root: Path, point: str) -> None:
        local = Local(LocalSettings(path=root, mounted=root / point))
        for work in (
            lambda: local.put("a", b""),
            lambda: local.get("a"),
            lambda: list(local.list()),
            local.prepare,
        ):
            with pytest.raises(Unavailable, match=f"nothing is mounted at `{root / point}`"):
                work()
        assert list(root.iterdir()) == []

    @pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no second file system here")  # noqa: S108 - a file system, no temporary file
    def test_is_used_while_its_disk_is_mounted(self) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            local = Local(LocalSettings(path=Path(folder) / "new", mounted=Path("/dev/shm")))  # noqa: S108 - a file system, no temporary file
            local.prepare()
            local.put("a", b"x")
            assert local.get("a") == b"x"

    def test_is_unavailable_on_another_disk_than_the_one_that_is_named(self, root: Path) -> None:
        with pytest.raises(Unavailable, match="is not on the disk mounted at `/proc`"):
            Local(LocalSettings(path=root, mounted=Path("/proc"))).put("a", b"")
        assert list(root.iterdir()) == []


class TestALinkPlantedBelowTheFolder:
    @pytest.fixture
    def outside(self, tmp_path: Path) -> Iterator[Path]:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        os.utime(outside / "secret", (0, 0))
        yield outside
        assert [path.name for path in outside.iterdir()] == ["secret"]
        assert (outside / "secret").read_bytes() == b"secret"

    @pytest.mark.parametrize("name", ["packs/secret", "packs/new", "packs/deeper/new"])
    def test_in_the_place_of_a_folder_is_not_followed(self, local: Local, root: Path, outside: Path, name: str) -> None:
        (root / "packs").symlink_to(outside)
        for work in (
            lambda: local.put(name, b"x"),
            lambda: local.put(name, outside / "secret"),
            lambda: local.get(name),
            lambda: local.delete(name),
            lambda: list(local.list("packs/")),
            lambda: list(local.list(name)),
        ):
            with pytest.raises(Refused, match="symbolic link"):
                work()

    def test_in_the_place_of_an_object_is_not_followed(self, local: Local, root: Path, outside: Path) -> None:
        (root / "one").symlink_to(outside / "secret")
        (root / "two").symlink_to(outside / "new")
        for name in ("one", "two"):
            with pytest.raises(Refused, match="symbolic link"):
                local.get(name)
            with pytest.raises(Exists):
                local.put(name, b"x")
            local.delete(name)
        assert [path.name for path in root.iterdir() if path.name != ".tmp"] == []

    def test_is_not_left_out_of_a_listing_in_silence(self, local: Local, root: Path, outside: Path) -> None:
        local.put("a", b"x")
        (root / "packs").symlink_to(outside)
        with pytest.raises(Refused, match="packs"):
            list(local.list())
        assert list(local.list("a")) == [Listed("a", 1)]

    def test_in_the_place_of_the_unfinished_is_not_followed(self, local: Local, root: Path, outside: Path) -> None:
        (root / ".tmp").symlink_to(outside)
        with pytest.raises(Refused, match="symbolic link"):
            local.put("a", b"x")


class TestWhatIsNotFromHere:
    def test_a_pipe_is_refused_and_nobody_waits_for_it(self, local: Local, root: Path) -> None:
        os.mkfifo(root / "pipe")
        with pytest.raises(Refused, match="plain file"):
            local.get("pipe")
        with pytest.raises(Refused, match="pipe"):
            list(local.list())

    def test_names_that_cannot_be_objects_are_not_listed(self, local: Local, root: Path) -> None:
        local.put("a/one", b"x")
        for name in (".DS_Store", "a b", "a/~lock", "é"):
            (root / name).write_bytes(b"")
        (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
        (root / "lost+found").mkdir(mode=0)
        (root / ".hidden/folder").mkdir(parents=True)
        (root / ".hidden/folder/file").write_bytes(b"")
        assert list(local.list()) == [Listed("a/one", 1)]

    def test_a_name_is_an_object_or_a_folder_never_both(self, local: Local) -> None:
        local.put("a/b", b"x")
        with pytest.raises(Refused, match="folder"):
            local.put("a", b"y")
        with pytest.raises(Refused, match="folders"):
            local.put("a/b/c", b"y")
        assert list(local.list()) == [Listed("a/b", 1)]

    def test_a_file_system_without_hard_links_is_refused_by_name(
        self, local: Local, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        with pytest.raises(Refused, match="no hard links"):
            local.put("a", b"x")
        monkeypatch.undo()
        assert list(local.list()) == []
        assert list((root / ".tmp").iterdir()) == []

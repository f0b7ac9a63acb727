"""Restoring over and beside what is there: nothing is lost, nothing is left half done."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import BackupError, NoSpace, Occupied, Refused, UnsafePath
from tasks.item import FIFO, FILE, SYMLINK, Entry, Stored
from tasks.sources.file_restore import restore_files
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.source import Restoring
from tests.contracts.child import Child, as_nobody, passable
from tests.contracts.file_listing import listing
from tests.contracts.memory_items import MemoryItems
from tests.unit.sources.stored_files import file, folder, hard, link, restore

EXISTING = b"precious"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def test_set_user_id_bits_come_back_only_with_the_owner(into: Path, tmp_path: Path) -> None:
    into.mkdir(mode=0o777)
    into.chmod(0o777)
    passable(tmp_path)
    item = file(b"a", mode=0o6755)
    item = item._replace(entry=item.entry._replace(uid=12345, gid=12345))

    def without_root() -> list[str]:
        return restore(into, item)

    told = Child(as_nobody(without_root)).result()
    assert stat.S_IMODE((into / "a").stat().st_mode) == 0o755
    assert any("only root can" in line for line in told)


def test_capabilities_come_back_only_with_the_owner(into: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives capabilities")
    raw_sockets = b"\x00\x00\x00\x02\x00\x20" + bytes(14)
    item = file(b"a")
    item = item._replace(entry=item.entry._replace(xattrs=((b"security.capability", raw_sockets),)))
    told = restore_files(MemoryItems([item]), [item], into, Restoring(owners=False))
    assert os.listxattr(into / "a") == []
    assert "extended attributes" in told[0]
    assert restore(into, item, overwrite=True) == []
    assert os.getxattr(into / "a", "security.capability") == raw_sockets


def test_a_file_is_private_until_it_is_complete(into: Path) -> None:
    with FolderWriter(into, Restoring()) as writer:
        item = file(b"a", b"secret", 0o644)
        writer.write(item, 0, memoryview(b"sec"))
        (unfinished,) = into.iterdir()
        assert stat.S_IMODE(unfinished.stat().st_mode) == 0o600
        writer.write(item, 3, memoryview(b"ret"))
        writer.complete(item)
        assert stat.S_IMODE((into / "a").stat().st_mode) == 0o644
    assert (into / "a").read_bytes() == b"secret"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_restore_that_fails_leaves_no_half_file(into: Path, overwrite: bool) -> None:
    into.mkdir()
    if overwrite:
        (into / "a").write_bytes(EXISTING)

    def interrupted() -> None:
        with FolderWriter(into, Restoring(overwrite)) as writer:
            writer.write(file(b"a"), 0, memoryview(b"plan"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(into) == (["a"] if overwrite else [])
    if overwrite:
        assert (into / "a").read_bytes() == EXISTING


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(EXISTING),
        lambda path: path.symlink_to("x"),
        os.mkfifo,
    ],
    ids=["folder", "file", "link", "pipe"],
)
@pytest.mark.parametrize(
    "item",
    [file(b"a"), link(b"a", b"y"), Stored(Entry(b"a", FIFO)), hard(b"a", b"0")],
    ids=["file", "link", "pipe", "hard"],
)
def test_what_is_there_stays_unless_it_may_be_overwritten(
    into: Path, make: Callable[[Path], object], item: Stored
) -> None:
    into.mkdir()
    make(into / "a")
    (into / "0").write_bytes(b"planted")
    os.utime(into / "0", ns=(0, 0))
    before = listing(into)
    with pytest.raises(Occupied, match="`a`"):
        restore(into, item)
    assert listing(into) == before
    if (into / "a").is_dir():
        with pytest.raises(Occupied):
            restore(into, item, overwrite=True)
        assert listing(into) == before
    else:
        restore(into, item, overwrite=True)
        assert stat.S_IFMT((into / "a").lstat().st_mode) == {FILE: stat.S_IFREG, SYMLINK: stat.S_IFLNK}.get(
            item.entry.type, stat.S_IFIFO if item.entry.type == FIFO else stat.S_IFREG
        )
        assert sorted(os.listdir(into)) == ["0", "a"]


def test_a_hard_link_over_itself_leaves_nothing_behind(into: Path) -> None:
    restore(into, file(b"a"), hard(b"b", b"a"))
    restore(into, file(b"a"), hard(b"b", b"a"), overwrite=True)
    restore(into, hard(b"b", b"a"), overwrite=True)
    assert sorted(os.listdir(into)) == ["a", "b"]
    assert (into / "a").samefile(into / "b")


def test_a_folder_that_was_there_keeps_its_metadata_unless_it_may_be_overwritten(into: Path) -> None:
    (into / "a").mkdir(parents=True)
    (into / "a").chmod(0o711)
    restore(into, folder(b"a", 0o700), file(b"a/b"))
    assert stat.S_IMODE((into / "a").stat().st_mode) == 0o711
    restore(into, folder(b"a", 0o700), file(b"a/b"), overwrite=True)
    assert stat.S_IMODE((into / "a").stat().st_mode) == 0o700


def test_a_file_in_the_place_of_a_folder_is_told(into: Path) -> None:
    into.mkdir()
    (into / "a").write_bytes(EXISTING)
    with pytest.raises(Occupied):
        restore(into, folder(b"a"), file(b"a/b"), overwrite=True)
    with pytest.raises(UnsafePath):
        restore(into, file(b"a/b"), overwrite=True)
    (into.parent / "no-folder").write_bytes(b"")
    with pytest.raises(BackupError, match="no-folder"):
        restore(into.parent / "no-folder", file(b"a"))
    assert (into / "a").read_bytes() == EXISTING


def test_a_full_disk_is_told_as_such_and_what_did_not_fit_is_removed(disk_of: Callable[[int], Path]) -> None:
    disk = disk_of(1 << 20)
    restore(disk / "into", file(b"fits"))  # first: both at once, and either may be the one that finds no room
    with pytest.raises(NoSpace, match="`large`"):
        restore(disk / "into", file(b"large", b"x" * (2 << 20)))
    assert set(listing(disk / "into")) == {b"fits"}


def test_a_target_that_may_not_be_written_is_told(into: Path, tmp_path: Path) -> None:
    into.mkdir()
    into.chmod(0o555)
    passable(tmp_path)
    with pytest.raises(Refused, match="`a` can't be restored"):
        Child(as_nobody(lambda: restore(into, file(b"a")))).result()


def test_a_hard_link_without_its_partner_is_told(into: Path) -> None:
    assert "shares its content" in restore(into, hard(b"z", b"missing"))[0]
    (into / "other").write_bytes(b"of the user")
    assert "is another one here" in restore(into, hard(b"z", b"other"))[0]
    assert not (into / "z").exists()

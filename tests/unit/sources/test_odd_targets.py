"""Restoring to file systems and folders that are not like those the files come from: all comes back that can, nobody
gets at more than before, and what can't come back is told in the end."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tasks.errors import Occupied, Refused
from tasks.item import Stored
from tasks.sources.file_restore import restore_files
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.metadata import _NEEDS_ROOT
from tasks.sources.source import Restoring
from tests.contracts.child import FORK, Child, as_nobody, passable
from tests.contracts.file_listing import listing
from tests.contracts.memory_items import MemoryItems
from tests.unit.sources.stored_files import file, folder, hard, link, restore

SECOND = 1_000_000_000
OTHER_GROUP = 1
ACL_ACCESS, ACL_DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def changed(item: Stored, at: int) -> Stored:
    return item._replace(entry=item.entry._replace(mtime_ns=at))


@pytest.mark.parametrize(
    "at", [0, 1, 1_700_000_000 * SECOND + 123_456_789, -3_786_825_600 * SECOND, 4_000_000_000 * SECOND]
)
def test_further_names_come_back_where_times_are_coarse_or_few(old_disk: Path, at: int) -> None:
    into = old_disk / "into"
    assert restore(into, changed(file(b"a"), at), changed(hard(b"b", b"a"), at)) == []
    assert (into / "a").samefile(into / "b")
    assert restore(into, changed(file(b"a"), at), changed(hard(b"b", b"a"), at), overwrite=True) == []
    assert (into / "a").samefile(into / "b")


def test_another_file_is_not_taken_for_the_first_name_where_times_are_coarse(old_disk: Path) -> None:
    into = old_disk / "into"
    first = changed(file(b"a"), 5 * SECOND + 1)
    told = restore(into, first, changed(hard(b"b", b"a"), 7 * SECOND + 1), changed(hard(b"c", b"a"), 5 * SECOND + 1))
    assert "is another one here" in told[0]
    assert sorted(os.listdir(into)) == ["a", "c"]
    assert (into / "a").stat().st_mtime_ns == 5 * SECOND
    before = old_disk / "before"
    before.mkdir()
    (before / "a").write_bytes(b"planted")  # as long, and there before
    os.utime(before / "a", ns=(5 * SECOND, 5 * SECOND))
    time.sleep(1.1)  # this file system's clock goes by seconds too
    assert "is another one here" in restore(before, file(b"0"), changed(hard(b"b", b"a"), 5 * SECOND + 1))[0]


def test_what_the_file_system_cant_hold_is_told_when_all_else_is_back(old_disk: Path) -> None:
    endless = Stored(file(b"e").entry._replace(size=1 << 62, extents=()))
    items = (
        *(folder(b"d", 0o750), file(b"d/a"), link(b"d/long", b"x" * 4000), endless),
        *(changed(file(b"f"), 1), changed(hard(b"g", b"f"), 1), link(b"z", b"f")),
    )
    with pytest.raises(Refused, match=r"2 items, of which `e` is the first: File too large"):
        restore(old_disk / "into", *items)
    found = listing(old_disk / "into")
    assert set(found) == {b"d", b"d/a", b"f", b"g", b"z"}
    assert stat.S_IMODE((old_disk / "into/d").stat().st_mode) == 0o750
    assert (old_disk / "into/f").samefile(old_disk / "into/g")


def test_what_may_not_be_changed_is_told_when_all_else_is_back(old_disk: Path) -> None:
    into = old_disk / "into"
    restore(into, file(b"a"), file(b"b"))
    if subprocess.run(["chattr", "+i", into / "a"], check=False).returncode:
        pytest.skip("nothing can be made immutable here")
    try:
        with pytest.raises(Refused, match="`a`: Operation not permitted"):
            restore(into, file(b"a", b"later"), file(b"b", b"later"), overwrite=True)
    finally:
        subprocess.run(["chattr", "-i", into / "a"], check=True)
    assert ((into / "a").read_bytes(), (into / "b").read_bytes()) == (b"planted", b"later")
    assert sorted(os.listdir(into)) == ["a", "b"]


def test_where_a_file_can_have_no_more_names_it_comes_again(old_disk: Path) -> None:
    into = old_disk / "into"
    restore(into, file(b"a", mode=0o640))
    (old_disk / "names").mkdir()
    for number in range(64_999):
        os.link(into / "a", old_disk / "names" / f"{number:x}")
    partner = hard(b"b", b"a")
    told = restore(into, partner._replace(entry=partner.entry._replace(mode=0o640)))
    assert "a file of its own now" in told[0]
    assert not (into / "a").samefile(into / "b")
    assert (into / "b").read_bytes() == b"planted"
    assert stat.S_IMODE((into / "b").stat().st_mode) == 0o640
    assert (into / "b").stat().st_mtime_ns == (into / "a").stat().st_mtime_ns


def test_a_file_of_holes_alone_comes_again_as_one(old_disk: Path) -> None:
    into = old_disk / "into"
    holes = Stored(file(b"a").entry._replace(size=64 << 20, extents=()))  # more than the disk has room for
    restore(into, holes)
    (old_disk / "names").mkdir()
    for number in range(64_999):
        os.link(into / "a", old_disk / "names" / f"{number:x}")
    assert "a file of its own now" in restore(into, hard(b"b", b"a", size=64 << 20))[0]
    assert (into / "b").stat().st_size == 64 << 20
    assert (into / "b").stat().st_blocks == 0


def acl(*entries: tuple[int, int, int]) -> bytes:
    """As the kernel has it: version 2, then tag, permissions and number of each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
GENEROUS = acl((1, 7, NOBODY), (2, 7, 12345), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))


def with_acl(path: Path, *names: str) -> Path:
    try:
        for name in names:
            os.setxattr(path, name, GENEROUS)
    except OSError:
        pytest.skip("the file system of temporary files has no access control lists")
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_lists_of_a_folder_that_was_there_go_on_to_nothing(into: Path, overwrite: bool) -> None:
    into.mkdir()
    with_acl(into, ACL_DEFAULT)
    own = ((ACL_ACCESS.encode(), GENEROUS),)
    kept = file(b"d/kept", mode=0o670)
    kept = kept._replace(entry=kept.entry._replace(xattrs=own))
    items = (folder(b"d", 0o750), file(b"d/a", mode=0o640), kept, file(b"d/w", mode=0o644), folder(b"d/x/y", 0o700))
    restore(into, *items, overwrite=overwrite)
    for name, mode in (("d", 0o750), ("d/a", 0o640), ("d/w", 0o644), ("d/x/y", 0o700)):
        assert os.listxattr(into / name) == [], name
        assert stat.S_IMODE((into / name).stat().st_mode) == mode
    assert os.listxattr(into / "d/kept") == [ACL_ACCESS]


def test_the_lists_of_what_is_overwritten_go(into: Path) -> None:
    restore(into, folder(b"d", 0o750), file(b"d/a", mode=0o640))
    with_acl(into / "d", ACL_ACCESS, ACL_DEFAULT)
    with_acl(into / "d/a", ACL_ACCESS)
    restore(into, folder(b"d", 0o750), file(b"d/a", mode=0o640), overwrite=True)
    assert os.listxattr(into / "d") == os.listxattr(into / "d/a") == []
    assert stat.S_IMODE((into / "d").stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of a group that it is not in")
def test_a_set_group_id_folder_gives_its_group_to_nothing(into: Path, tmp_path: Path) -> None:
    into.mkdir()
    os.chown(into, 65534, OTHER_GROUP)
    into.chmod(0o2775)
    passable(tmp_path)

    def owned(item: Stored, owner: int) -> Stored:
        return item._replace(entry=item.entry._replace(uid=owner, gid=owner))

    own = owned(file(b"own", mode=0o660), 65534), owned(file(b"bits", mode=0o2755), 65534)
    told = Child(as_nobody(lambda: restore(into, *own, owned(file(b"other", mode=0o660), 12345)))).result()
    assert [(into / name).stat().st_gid for name in ("own", "bits", "other")] == [65534] * 3
    assert stat.S_IMODE((into / "bits").stat().st_mode) == 0o2755
    assert told == [f"1 item: {_NEEDS_ROOT}; the first is `other`"]


def test_what_is_chosen_alone_lies_in_folders_for_nobody_else(into: Path) -> None:
    restore(into, file(b"private/inner/open", mode=0o644))
    assert stat.S_IMODE((into / "private").stat().st_mode) == 0o700
    assert stat.S_IMODE((into / "private/inner").stat().st_mode) == 0o700


def test_what_a_killed_restore_left_goes_with_the_next_one(into: Path) -> None:
    into.mkdir()
    (into / "a").write_bytes(b"before")

    def killed() -> None:
        writer = FolderWriter(into, Restoring(overwrite=True))
        writer.write(file(b"a"), 0, memoryview(b"plan"))
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=killed)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert len(os.listdir(into)) == 2
    restore(into, file(b"a"), overwrite=True)
    assert os.listdir(into) == ["a"]
    assert (into / "a").read_bytes() == b"planted"


def test_of_two_restores_over_the_same_file_none_gets_what_is_half_done(into: Path) -> None:
    item = file(b"a")
    with FolderWriter(into, Restoring(overwrite=True)) as first, FolderWriter(into, Restoring(overwrite=True)) as other:
        first.write(item, 0, memoryview(b"planted"))
        other.write(item, 0, memoryview(b"plan"))
        with pytest.raises(Refused, match="another restore is writing"):
            first.complete(item)
        assert not (into / "a").exists()
        other.write(item, 4, memoryview(b"ted"))
        other.complete(item)
    assert (into / "a").read_bytes() == b"planted"


def test_of_two_restores_over_the_same_file_the_one_that_comes_too_late_is_told_why(into: Path) -> None:
    item = file(b"a")
    with FolderWriter(into, Restoring(overwrite=True)) as first, FolderWriter(into, Restoring(overwrite=True)) as other:
        first.write(item, 0, memoryview(b"planted"))
        other.write(item, 0, memoryview(b"planted"))
        other.complete(item)
        with pytest.raises(Refused, match="another restore writes it too, or somebody clears that folder"):
            first.complete(item)
    assert os.listdir(into) == ["a"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("is_link", [False, True])
def test_a_target_that_is_no_folder_is_told(into: Path, overwrite: bool, is_link: bool) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    if is_link:
        into.symlink_to("nowhere")
    else:
        into.touch()
    with pytest.raises(Occupied, match=r"`.*/into` is to be a folder, but something else has that name; move it away"):
        restore_files(MemoryItems([file(b"a")]), [file(b"a")], into, Restoring(overwrite=overwrite))


def test_a_folder_in_the_way_is_told_before_anything_else(into: Path) -> None:
    (into / "a").mkdir(parents=True)
    with pytest.raises(Occupied):
        restore_files(MemoryItems([file(b"a")]), [file(b"a")], into, Restoring(overwrite=True))


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o555])
def test_who_owns_a_folder_that_is_closed_overwrites_what_is_in_it(into: Path, tmp_path: Path, mode: int) -> None:
    passable(tmp_path)
    tmp_path.chmod(0o777)
    items = folder(b"d", mode), folder(b"d/e", mode), file(b"d/e/a", b"as it was")

    def twice() -> None:
        restore(into, *items)
        os.chmod(into / "d", 0o700)
        os.chmod(into / "d/e", 0o700)
        (into / "d/e/a").write_bytes(b"something else")
        os.chmod(into / "d/e", mode)
        os.chmod(into / "d", mode)
        restore(into, *items, overwrite=True)

    Child(as_nobody(twice)).result()
    assert (into / "d/e/a").read_bytes() == b"as it was"
    assert stat.S_IMODE((into / "d").stat().st_mode) == stat.S_IMODE((into / "d/e").stat().st_mode) == mode


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_journal_that_was_left_beside_a_database_is_told(into: Path, size: int) -> None:
    database = file(b"d/a.db", b"SQLite format 3\0" + bytes(size))
    own = file(b"d/a.db-journal", b"its own")
    (into / "d").mkdir(parents=True)
    for name in ("a.db", "a.db-wal", "a.db-journal", "b.db", "b.db-wal"):
        (into / "d" / name).write_bytes(b"of another one")
    time.sleep(0.02)  # a tick of the file system's clock
    told = restore(into, folder(b"d"), database, own, file(b"d/b.db", b"no database"), overwrite=True)
    assert len(told) == 1
    assert "SQLite would apply it" in told[0]
    assert told[0].endswith("the first is `d/a.db-wal`")
    assert told[0].startswith("1 item")
    (into / "d/a.db-wal").unlink()
    assert restore(into, folder(b"d"), database, own, overwrite=True) == []

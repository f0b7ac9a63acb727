"""A hostile snapshot, or a hostile neighbour, harms nothing when files are restored."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.errors import BackupError, Damaged, NoSpace, Occupied, Refused, UnsafePath
from tasks.item import BLOCK_DEVICE, CHARACTER_DEVICE, FIFO, FILE, FOLDER, HARDLINK, SOCKET, SYMLINK, Entry, Stored
from tasks.sources.file_restore import restore_files
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.source import Restoring
from tests.contracts.child import Child, as_nobody
from tests.contracts.file_listing import listing
from tests.contracts.memory_items import MemoryItems

EXISTING = b"precious"


def file(path: bytes, content: bytes = b"planted", mode: int = 0o644) -> Stored:
    return Stored(Entry(path, FILE, mode, size=len(content)), content=content)


def folder(path: bytes, mode: int = 0o755) -> Stored:
    return Stored(Entry(path, FOLDER, mode))


def link(path: bytes, target: bytes) -> Stored:
    return Stored(Entry(path, SYMLINK, link=target))


def hard(path: bytes, partner: bytes, size: int = 7) -> Stored:
    return Stored(Entry(path, HARDLINK, link=partner, size=size))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(EXISTING)
    return outside


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def restore(into: Path, *items: Stored, overwrite: bool = False) -> list[str]:
    return restore_files(MemoryItems(items), items, into, Restoring(overwrite=overwrite))


@pytest.mark.parametrize(
    "path",
    [
        b"/etc/planted",
        b"//planted",
        b"..",
        b"../planted",
        b"a/../../planted",
        b"a/..",
        b"./planted",
        b"a/./planted",
        b"",
        b"a//planted",
        b"a/",
        b"a\0b",
    ],
)
@pytest.mark.parametrize("kind", [FILE, FOLDER, SYMLINK, HARDLINK, FIFO])
def test_a_path_that_leads_out_is_refused_before_anything_is_written(
    into: Path, outside: Path, path: bytes, kind: str
) -> None:
    before = listing(into.parent)
    with pytest.raises(UnsafePath):
        restore(into, Stored(Entry(path, kind, link=b"ok", size=7), content=b"planted"))
    assert os.listdir(into) == []
    into.rmdir()
    assert listing(into.parent) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", [b"../outside", b"/tmp", b".", b"sub"])
def test_nothing_is_written_through_a_link_of_the_snapshot(
    into: Path, outside: Path, target: bytes, overwrite: bool
) -> None:
    before = listing(outside)
    with pytest.raises(UnsafePath, match="below something that is no folder"):
        restore(into, link(b"a", target), file(b"a/file"), overwrite=overwrite)
    assert listing(outside) == before
    assert listing(into) == {}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_that_comes_after_what_is_below_it_leads_nowhere(into: Path, outside: Path, overwrite: bool) -> None:
    with pytest.raises(Occupied):
        restore(into, folder(b"a"), file(b"a/file"), link(b"a", b"../outside"), overwrite=overwrite)
    assert (outside / "file").read_bytes() == EXISTING
    assert not (into / "a").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_written_through_a_link_that_was_there_before(into: Path, outside: Path, overwrite: bool) -> None:
    into.mkdir()
    (into / "a").symlink_to(outside)
    before = listing(outside)
    for items in (
        [file(b"a/file")],
        [file(b"a/new/file")],
        [folder(b"a/new")],
        [link(b"a/new", b"x")],
        [Stored(Entry(b"a/new", FIFO))],
        [file(b"b"), hard(b"a/new", b"b")],
    ):
        with pytest.raises(UnsafePath, match="through a link"):
            restore(into, *items, overwrite=True)
    with pytest.raises(Occupied, match="move it away"):
        restore(into, folder(b"a"), overwrite=overwrite)
    assert listing(outside) == before


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(into: Path, outside: Path) -> None:
    into.mkdir()
    (into / "a").symlink_to(outside / "file")
    (into / "b").symlink_to(outside / "absent")
    for name in (b"a", b"b"):
        with pytest.raises(Occupied):
            restore(into, file(name))
    restore(into, file(b"a"), file(b"b"), overwrite=True)
    assert (outside / "file").read_bytes() == EXISTING
    assert [(into / name).is_symlink() for name in ("a", "b")] == [False, False]
    assert os.listdir(outside) == ["file"]


@pytest.mark.parametrize("partner", [b"/etc/passwd", b"../outside/file", b"a/../../outside/file", b"", b"."])
def test_a_hard_link_to_something_outside_is_refused(into: Path, outside: Path, partner: bytes) -> None:
    with pytest.raises(UnsafePath):
        restore(into, file(b"b"), hard(b"z", partner, len(EXISTING)))
    assert not (into / "z").exists()
    assert (outside / "file").stat().st_nlink == 1


def test_a_hard_link_through_a_link_is_refused(into: Path, outside: Path) -> None:
    with pytest.raises(UnsafePath):
        restore(into, link(b"a", b"../outside"), hard(b"z", b"a/file", len(EXISTING)))
    assert (outside / "file").stat().st_nlink == 1


def test_a_hard_link_to_a_link_is_refused(into: Path, outside: Path) -> None:
    with pytest.raises(UnsafePath):
        restore(into, link(b"a", b"../outside/file"), hard(b"z", b"a", len(EXISTING)))
    assert (outside / "file").stat().st_nlink == 1


def test_a_hard_link_without_its_partner_is_told(into: Path) -> None:
    assert "shares its content" in restore(into, hard(b"z", b"missing"))[0]
    (into / "other").write_bytes(b"of the user")
    assert "is another one here" in restore(into, hard(b"z", b"other"))[0]
    assert not (into / "z").exists()


def test_devices_are_never_made(into: Path) -> None:
    told = restore(
        into,
        Stored(Entry(b"block", BLOCK_DEVICE, 0o666, device=os.makedev(8, 0))),
        Stored(Entry(b"character", CHARACTER_DEVICE, 0o666, device=os.makedev(1, 1))),
        Stored(Entry(b"socket", SOCKET, 0o666)),
        Stored(Entry(b"unheard-of", "?")),
    )
    assert os.listdir(into) == []
    assert told == [
        "3 items: devices are not made; the first is `block`",
        "1 item: a socket is made by the server that listens on it; the first is `socket`",
    ]


@pytest.mark.parametrize("name", [b"\x1b]0;owned\x07", b"a\nb", b"\r", b"\xe2\x80\xae", b"\xff"])
def test_names_that_control_a_terminal_are_restored_but_never_printed(into: Path, name: bytes) -> None:
    restore(into, file(name))
    assert [os.fsencode(each) for each in os.listdir(into)] == [name]
    with pytest.raises(Occupied) as raised:
        restore(into, file(name))
    assert str(raised.value).isprintable()
    with pytest.raises(UnsafePath) as unsafe:
        restore(into, file(b"../" + name))
    assert str(unsafe.value).isprintable()


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", FILE, size=10, extents=((0, 5), (3, 5))),
        Entry(b"a", FILE, size=10, extents=((-5, 5),)),
        Entry(b"a", FILE, size=10, extents=((8, 5),)),
        Entry(b"a", FILE, size=10, extents=((0, 0), (5, -1))),
    ],
)
def test_a_map_of_holes_that_makes_no_sense_is_damage(into: Path, entry: Entry) -> None:
    with pytest.raises(Damaged):
        restore(into, Stored(entry, content=b"12345"))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", FILE, 0o644, uid=-1, gid=1 << 40, mtime_ns=1 << 80),
        Entry(b"a", FILE, 0o644, user="root\0", group="\udcff", xattrs=((b"nonsense", b""), (b"user.\0", b"x"))),
        Entry(b"a", FILE, -1),
    ],
)
def test_metadata_that_makes_no_sense_is_told_and_the_content_is_there(into: Path, entry: Entry) -> None:
    restore(into, Stored(entry._replace(size=5), content=b"12345"))
    assert (into / "a").read_bytes() == b"12345"


def test_set_user_id_bits_come_back_only_with_the_owner(into: Path, tmp_path: Path) -> None:
    into.mkdir(mode=0o777)
    into.chmod(0o777)
    _passable(tmp_path)
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
        assert stat.S_IMODE((into / "a").stat().st_mode) == 0o600
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


def test_a_link_swapped_in_while_restoring_is_never_followed(into: Path, outside: Path) -> None:
    """A neighbour turns folders into links out of the target and back, as fast as it can."""
    names = [b"folder-%d" % number for number in range(4)]
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            for name in names:
                path, aside = into / os.fsdecode(name), into / f"aside-{os.fsdecode(name)}"
                try:
                    path.rename(aside)
                    path.symlink_to(outside)
                    swaps += 1
                    path.unlink()
                    aside.rename(path)
                except OSError:
                    continue

    into.mkdir()
    neighbour = threading.Thread(target=swap)
    before = listing(outside)
    neighbour.start()
    refused = written = 0
    try:
        for attempt in range(300):
            items = []
            for name in names:
                items.append(folder(name))
                items += [file(name + b"/%d-%d" % (attempt, number)) for number in range(20)]
                items.append(link(name + b"/link-%d" % attempt, b"x"))
                items.append(Stored(Entry(name + b"/pipe-%d" % attempt, FIFO)))
            try:
                restore(into, *items, overwrite=True)
                written += 1
            except (UnsafePath, Occupied, Refused):
                refused += 1
    finally:
        stop.set()
        neighbour.join()
    assert listing(outside) == before
    assert swaps
    assert refused + written == 300


def test_a_file_swapped_while_it_is_open_again_is_not_written_to(into: Path, outside: Path) -> None:
    with FolderWriter(into, Restoring()) as writer:
        first = file(b"first", b"12345678")
        writer.write(first, 0, memoryview(b"1234"))
        others = [file(b"%03d" % number, b"xy") for number in range(100)]
        for other in others:
            writer.write(other, 0, memoryview(b"x"))
        (into / "first").unlink()
        os.link(outside / "file", into / "first")
        with pytest.raises(UnsafePath, match="something else in the place"):
            writer.write(first, 4, memoryview(b"5678"))
        assert (outside / "file").read_bytes() == EXISTING
        for other in others:
            writer.write(other, 1, memoryview(b"y"))
            writer.complete(other)
        assert len(os.listdir("/proc/self/fd")) < 200
    assert (into / "042").read_bytes() == b"xy"
    assert (into / "first").read_bytes() == EXISTING  # not ours, so not removed


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB. Skips, in CI too, where even root may not mount one: no program is missing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_as_such_and_what_did_not_fit_is_removed(disk: Path) -> None:
    with pytest.raises(NoSpace, match="`large`"):
        restore(disk / "into", file(b"fits"), file(b"large", b"x" * (2 << 20)))
    assert b"large" not in listing(disk / "into")


def test_a_target_that_may_not_be_written_is_told(into: Path, tmp_path: Path) -> None:
    into.mkdir()
    into.chmod(0o555)
    _passable(tmp_path)
    with pytest.raises(Refused, match="`a` can't be restored"):
        Child(as_nobody(lambda: restore(into, file(b"a")))).result()


def _passable(path: Path) -> None:
    while path != Path("/"):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)
        path = path.parent

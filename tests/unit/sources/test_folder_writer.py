"""A hostile snapshot, or a hostile neighbour, harms nothing when files are restored."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tasks.errors import Damaged, Occupied, Refused, UnsafePath
from tasks.item import BLOCK_DEVICE, CHARACTER_DEVICE, FIFO, FILE, FOLDER, HARDLINK, SOCKET, SYMLINK, Entry, Stored
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.source import Restoring
from tests.contracts.file_listing import listing
from tests.unit.sources.stored_files import file, folder, hard, link, restore

EXISTING = b"precious"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(EXISTING)
    return outside


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


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


def test_a_hard_link_gets_its_name_at_once_and_replaces_nothing(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another name first, a tree of many names of few files took half as much CPU again."""
    linked, unlinked = list[object](), list[object]()
    monkeypatch.setattr(os, "link", lambda *given, was=os.link, **more: linked.append(was(*given, **more)))
    monkeypatch.setattr(os, "unlink", lambda *given, was=os.unlink, **more: unlinked.append(was(*given, **more)))
    restore(into, file(b"a"), hard(b"b", b"a", 7))
    assert (into / "b").samefile(into / "a")
    assert (len(linked), len(unlinked)) == (2, 1), "the file's own, whose first name goes, and the other one"
    (into / "a").unlink()
    (into / "b").write_bytes(EXISTING)
    with pytest.raises(Occupied):
        restore(into, file(b"a"), hard(b"b", b"a", 7))
    assert (into / "b").read_bytes() == EXISTING


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
        Entry(b"a", FILE, size=10, extents=()),
        Entry(b"a", FILE, size=10, extents=((0, 1), (5, 2))),
    ],
)
def test_a_map_of_holes_that_makes_no_sense_is_damage(into: Path, entry: Entry) -> None:
    with pytest.raises(Damaged):
        restore(into, Stored(entry, content=b"12345"))
    assert listing(into) == {}


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
        (unfinished,) = into.iterdir()
        others = [file(b"%03d" % number, b"xy") for number in range(100)]
        for other in others:
            writer.write(other, 0, memoryview(b"x"))
        unfinished.unlink()
        os.link(outside / "file", unfinished)
        with pytest.raises(UnsafePath, match="something else in the place"):
            writer.write(first, 4, memoryview(b"5678"))
        assert (outside / "file").read_bytes() == EXISTING
        for other in others:
            writer.write(other, 1, memoryview(b"y"))
            writer.complete(other)
        assert len(os.listdir("/proc/self/fd")) < 200
    assert (into / "042").read_bytes() == b"xy"
    assert unfinished.read_bytes() == EXISTING  # not ours, so not removed

"""The walk over folders: bounded, never through a link, and honest about what it could not list."""

from __future__ import annotations

import os
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import SourceError
from tasks.item import FILE, FOLDER, HARDLINK, SYMLINK, Entry, Item, Stored
from tasks.sources.file_restore import restore_files
from tasks.sources.manner import Manner
from tasks.sources.selection import Selection
from tasks.sources.source import Restoring
from tasks.sources.walk import Walk
from tests.contracts.memory_items import MemoryItems, read_all


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def walk(*roots: Path, selection: Selection | None = None, **manner: object) -> Walk:
    made = Manner(**manner)  # type: ignore[arg-type]
    return Walk({os.fsencode(root.name): os.fsencode(root) for root in roots}, selection or Selection(), made)


def paths(items: Iterator[Item] | Walk) -> list[bytes]:
    return [item.entry.path for item in items]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_order_is_that_of_the_parts_not_of_the_whole_path(tree: Path) -> None:
    for name in ("a/x", "a-b/x", "a.b/x", "a", "B/x", "é/x"):
        (tree / name).parent.mkdir(exist_ok=True)
        if "/" in name:
            (tree / name).touch()
    (tree / "a!").touch()
    found = paths(walk(tree))
    assert found == sorted(found, key=lambda path: path.split(b"/"))
    assert found.index(b"tree/a/x") < found.index(b"tree/a!")


def test_what_is_left_out_may_vanish_unless_it_may_have_been_a_folder(tree: Path) -> None:
    for name in ("first", "kept.md", "new.tmp", "swap"):
        (tree / name).write_text("x")
    walked = walk(tree, selection=Selection(exclude=["*.tmp", "swap/"]))
    items = iter(walked)
    assert next(items).entry.path == b"tree"
    for name in ("kept.md", "new.tmp", "swap"):
        (tree / name).unlink()
    assert paths(items) == [b"tree/first"]
    assert [flaw.path for flaw in walked.flaws] == [b"tree/kept.md", b"tree/swap"]


def test_a_folder_of_many_names_streams_in_bounded_memory(tree: Path) -> None:
    folder = os.open(tree, os.O_RDONLY)
    for number in range(20_000):
        os.close(os.open(b"name-%06d" % number, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    tracemalloc.start()
    count = sum(1 for _ in walk(tree))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_001
    assert peak < 20_000 * 250  # the names twice, and nothing else of each file


def test_memory_does_not_grow_with_the_number_of_folders(tree: Path) -> None:
    def peak() -> int:
        tracemalloc.start()
        for _ in walk(tree):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            (tree / f"{number // 10:03}" / f"{number:04}").mkdir(parents=True)
            (tree / f"{number // 10:03}" / f"{number:04}" / "file").touch()

    fill(0, 100)
    few = peak()
    fill(100, 1500)
    assert peak() < few + 60_000


def test_few_descriptors_are_open_even_if_every_item_is_kept(tree: Path) -> None:
    for number in range(300):
        folder = tree / f"{number:03}" / "inner" / "most"
        folder.mkdir(parents=True)
        (folder / "file").write_text(str(number))
    before = open_descriptors()
    for rotating in (False, True):
        kept = list(walk(tree, rotating=rotating))
        assert open_descriptors() - before <= 300
        opens = [item.open for item in kept if item.open]
        while opens:
            stream = opens.pop()()
            assert read_all(stream) == str(len(opens)).encode()
            stream.close()
        del kept
        assert open_descriptors() == before


def test_an_interrupted_walk_and_an_abandoned_stream_close_what_they_opened(tree: Path) -> None:
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_bytes(b"x")
    before = open_descriptors()
    next(item.open for item in walk(tree) if item.open)()
    assert open_descriptors() == before


def test_links_are_kept_and_never_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (tree / "to-folder").symlink_to(tmp_path / "outside")
    (tree / "loop").symlink_to(".")
    found = {item.entry.path: item.entry for item in walk(tree)}
    assert set(found) == {b"tree", b"tree/loop", b"tree/to-folder"}
    assert (found[b"tree/loop"].type, found[b"tree/loop"].link) == (SYMLINK, b".")


def test_a_folder_that_becomes_a_link_meanwhile_is_named_and_not_entered(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (tree / "folder" / "inner").mkdir(parents=True)
    (tree / "folder" / "inner" / "file").touch()
    (tree / "folder" / "z").touch()
    walking = walk(tree)
    seen = []
    for item in walking:
        seen.append(item.entry.path)
        if item.entry.path == b"tree":
            (tree / "folder").rename(tmp_path / "moved")
            (tree / "folder").symlink_to(tmp_path / "outside")
    assert b"tree/folder/secret" not in seen
    # It was listed as a folder before, or is seen as the link that it is now.
    assert seen == [b"tree", b"tree/folder"]


def test_names_that_vanish_after_the_listing_are_named(tree: Path) -> None:
    for name in ("a", "b", "c"):
        (tree / name).mkdir()
    walking = walk(tree)
    for item in walking:
        if item.entry.path == b"tree/a":
            (tree / "b").rmdir()
    assert [(flaw.path, flaw.what) for flaw in walking.flaws] == [(b"tree/b", "vanished")]


def test_a_folder_moved_away_while_it_is_walked_is_named(tree: Path, tmp_path: Path) -> None:
    for name in ("a/1/x", "a/2/x", "a/3/x"):
        (tree / name).mkdir(parents=True)
    walking = walk(tree)
    seen = []
    for item in walking:
        seen.append(item.entry.path)
        if item.entry.path == b"tree/a/1/x":
            (tree / "a").rename(tmp_path / "away")
    assert {flaw.what for flaw in walking.flaws} <= {"vanished"}
    assert walking.flaws or b"tree/a/3/x" in seen


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Where trees are made that are too deep for Python's own ways to remove them."""
    deep = tmp_path / "deep"
    (deep / "tree").mkdir(parents=True)
    yield deep
    subprocess.run(["rm", "-rf", deep], check=True)


def test_a_very_deep_tree_is_walked_and_restored_in_bounded_memory(deep: Path) -> None:
    """Who may write below a path could else take a worker's memory: each level's path is as long as all above it."""
    levels, name = 1500, b"level-of-some-length"
    folder = os.open(deep / "tree", os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    tracemalloc.start()
    count = sum(1 for _ in walk(deep / "tree"))
    walked = tracemalloc.get_traced_memory()[1]
    tracemalloc.clear_traces()
    chosen = Deep(levels, name)
    assert restore_files(MemoryItems([]), chosen, deep / "into", Restoring()) == []
    restored = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == levels + 1
    of_each_level = levels * levels // 2 * len(name)
    assert walked < of_each_level / 5
    assert restored < of_each_level / 2


class Deep:
    """The items of folders, each in the one before."""

    def __init__(self, levels: int, name: bytes) -> None:
        self._levels, self._name = levels, name

    def __iter__(self) -> Iterator[Stored]:
        path = b""
        for _ in range(self._levels):
            path = path + b"/" + self._name if path else self._name
            yield Stored(Entry(path, FOLDER, 0o755))


@pytest.mark.parametrize("change", ["longer", "touched", "another"])
def test_a_further_name_of_what_has_changed_since_comes_with_its_own_content(tree: Path, change: str) -> None:
    """Also where it is another file, which was given the number of one that is gone."""
    first, last = tree / "a", tree / "z"
    first.write_bytes(b"one")
    (tree / "m").write_bytes(b"between")
    last.hardlink_to(first)
    (tree / "zz").hardlink_to(first)
    found = dict[bytes, str]()
    for item in walk(tree):
        found[item.entry.path] = item.entry.type
        if item.entry.path == b"tree/a":
            if change == "touched":
                os.utime(last, ns=(0, 0))
            else:
                last.write_bytes(b"longer than one" if change == "longer" else b"two")
                os.utime(last, ns=(1, 1))
        if item.entry.path == b"tree/z":
            assert item.open
            opened = item.open()
            assert read_all(opened) == last.read_bytes()
            opened.close()
            assert not item.entry.link
        if item.entry.path == b"tree/zz":
            assert item.entry.link == b"tree/z"
    assert found == {b"tree": FOLDER, b"tree/a": FILE, b"tree/m": FILE, b"tree/z": FILE, b"tree/zz": HARDLINK}


def test_hard_links_are_found_whatever_their_order(tree: Path) -> None:
    (tree / "z").write_bytes(b"x")
    for name in ("y", "a", "m"):
        os.link(tree / "z", tree / name)
    walking = walk(tree)
    found = [(item.entry.path, item.entry.type, item.entry.link) for item in walking if item.entry.type != FOLDER]
    assert walking.leaves._first_names == {}  # none is remembered once all its names were met
    assert found == [
        (b"tree/a", FILE, b""),
        (b"tree/m", HARDLINK, b"tree/a"),
        (b"tree/y", HARDLINK, b"tree/a"),
        (b"tree/z", HARDLINK, b"tree/a"),
    ]


def test_a_left_out_name_of_a_file_does_not_take_its_content_along(tree: Path) -> None:
    (tree / "a").write_bytes(b"x")
    os.link(tree / "a", tree / "b")
    found = [(item.entry.path, item.entry.type) for item in walk(tree, selection=Selection(exclude=["a"]))]
    assert found == [(b"tree", FOLDER), (b"tree/b", FILE)]


def test_other_file_systems_are_left_out_where_wanted(tree: Path) -> None:
    (tree / "mounted").mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tree / "mounted")]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    try:
        (tree / "mounted" / "file").touch()
        assert paths(walk(tree)) == [b"tree", b"tree/mounted", b"tree/mounted/file"]
        assert paths(walk(tree, one_file_system=True)) == [b"tree", b"tree/mounted"]
    finally:
        subprocess.run(["umount", str(tree / "mounted")], check=True)


def test_a_root_may_be_a_link_and_keeps_its_own_name(tree: Path, tmp_path: Path) -> None:
    (tree / "file").touch()
    (tmp_path / "current").symlink_to("tree")
    assert paths(walk(tmp_path / "current")) == [b"current", b"current/file"]
    (tmp_path / "alone").symlink_to("tree/file")
    item = next(iter(walk(tmp_path / "alone")))
    assert item.entry.type == FILE
    assert item.open
    assert read_all(item.open()) == b""


def test_a_root_that_is_gone_is_an_error_with_the_remedy(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent` can't be read: No such file.*take it out of `paths`"):
        list(walk(tree, tmp_path / "absent"))


def test_included_files_bring_only_the_folders_they_are_in(tree: Path) -> None:
    for name in ("a/b/one.toml", "a/c/two.txt", "d/e/f/three.toml", "z/four.txt"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).touch()
    assert paths(walk(tree, selection=Selection(include=["*.toml"]))) == [
        *(b"tree", b"tree/a", b"tree/a/b", b"tree/a/b/one.toml"),
        *(b"tree/d", b"tree/d/e", b"tree/d/e/f", b"tree/d/e/f/three.toml"),
    ]

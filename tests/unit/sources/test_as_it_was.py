"""A restore that may overwrite leaves what is as it was, down to the last byte, and replaces all else."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Damaged
from tasks.repository import Repository, Snapshot
from tasks.sources import folder_writer
from tasks.sources.as_it_was import opened_as_it_was
from tasks.sources.docs import Docs, DocsSettings
from tasks.sources.source import Restoring
from tasks.sources.unfinished import Unfinished
from tests.contracts.file_listing import listing
from tests.repositories import about, create, local

SMALL, LARGE, MANY, EMPTY, LINKED, HOLES = "small", "large", "many", "empty", "linked", "holes"


class Kept:
    """A tree, stored, and restored once into `back`."""

    def __init__(self, folder: Path) -> None:
        self.original, self.back = folder / "tree", folder / "back"
        grow(self.original)
        self.source = Docs("docs", DocsSettings(kind="docs", paths=(self.original,)))
        self.repository: Repository = create(local(folder / "store"))
        self.snapshot: Snapshot = self.repository.save(self.source.capture(), about(0), self.repository.destination)
        self.restore()

    def restore(self) -> list[str]:
        items = self.repository.read(self.snapshot)
        return self.source.restore(items, items, self.back, Restoring(overwrite=True))

    def at(self, name: str) -> Path:
        return self.back / "tree" / name

    def identities(self) -> dict[str, tuple[int, int]]:
        """Inode and time of the last change: neither stays where anything is written, or given again."""
        found = {path.name: path.stat() for path in (self.back / "tree").iterdir()}
        return {name: (status.st_ino, status.st_ctime_ns) for name, status in found.items()}

    def replaced(self) -> set[str]:
        """What another restore writes anew, after which all is as it was."""
        before = self.identities()
        told = self.restore()
        assert told == []
        assert listing(self.back / "tree") == listing(self.original)
        after = self.identities()
        return {name for name in after if after[name] != before.get(name)}


def grow(tree: Path) -> None:
    dice = random.Random(3)
    tree.mkdir()
    (tree / SMALL).write_bytes(dice.randbytes(5_000))
    (tree / LARGE).write_bytes(dice.randbytes(12_000_000))
    (tree / EMPTY).touch(0o600)
    (tree / LINKED).write_bytes(dice.randbytes(100_000))
    (tree / "further").hardlink_to(tree / LINKED)
    with (tree / HOLES).open("wb") as file:
        file.seek(1 << 20)
        file.write(dice.randbytes(4096))
        file.truncate(3 << 20)
    os.setxattr(tree / LARGE, "user.origin", b"here")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def same_time(path: Path, change: Callable[[Path], object]) -> None:
    """As a disk that rots does it."""
    status = path.stat()
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rot(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes((byte[0] ^ 1,)))


def turn_into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def turn_into_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(LARGE)


UNSURE = {LINKED, "further", HOLES}
"""What has further names or holes is written anew each time."""


def test_what_is_as_it_was_is_neither_written_nor_touched(kept: Kept) -> None:
    assert kept.replaced() <= UNSURE


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (SMALL, lambda path: rot(path, 4_999)),
        (SMALL, lambda path: os.truncate(path, 4_999)),
        (LARGE, lambda path: rot(path, 11_999_999)),
        (LARGE, lambda path: rot(path, 0)),
        (LARGE, lambda path: os.truncate(path, 12_000_001)),
        (EMPTY, lambda path: path.write_bytes(b"x")),
    ],
)
def test_one_byte_that_differs_has_all_of_it_written_anew_whatever_its_time_says(
    kept: Kept, name: str, change: Callable[[Path], object]
) -> None:
    same_time(kept.at(name), change)
    assert kept.replaced() - UNSURE == {name}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o666),
        lambda path: os.utime(path, ns=(0, 1)),
        lambda path: same_time(path, lambda path: os.setxattr(path, "user.more", b"")),
        lambda path: same_time(path, lambda path: path.with_name("more").hardlink_to(path)),
        lambda path: path.unlink(),
        turn_into_link,
        turn_into_pipe,
    ],
    ids=["mode", "time", "attribute", "further name", "gone", "link", "pipe"],
)
def test_what_is_as_it_was_in_its_bytes_alone_is_replaced(kept: Kept, change: Callable[[Path], object]) -> None:
    change(kept.at(SMALL))
    before = kept.at(SMALL).lstat().st_ino if os.path.lexists(kept.at(SMALL)) else 0
    kept.restore()
    kept.at("more").unlink(missing_ok=True)
    assert listing(kept.back / "tree") == listing(kept.original)
    assert kept.at(SMALL).stat().st_ino != before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_somebody_else_is_replaced(kept: Kept) -> None:
    os.chown(kept.at(SMALL), 12345, 12345)
    assert kept.replaced() - UNSURE == {SMALL}


def test_what_another_restore_had_left_of_what_stays_goes(kept: Kept) -> None:
    """As one of another snapshot that was killed."""
    begun = kept.at(Unfinished(overwrite=True).name(b"tree/large").decode())
    begun.write_bytes(b"half of it")
    assert kept.replaced() <= UNSURE
    assert not begun.exists()


def test_a_further_name_of_what_stays_is_that_file_again(kept: Kept) -> None:
    kept.at("further").unlink()
    kept.restore()
    assert kept.at("further").samefile(kept.at(LINKED))


def test_nothing_is_fetched_for_what_stays(kept: Kept) -> None:
    for name in UNSURE:
        (kept.original / name).unlink()
    kept.snapshot = kept.repository.save(kept.source.capture(), about(1), kept.repository.destination)
    shutil.rmtree(kept.back)
    kept.restore()
    stored = kept.repository.destination
    contents = [pack.name for pack in stored.list("packs/") if pack.size > 1_000_000]  # lists are in packs of their own
    assert contents
    for name in contents:
        stored.delete(name)
    assert kept.restore() == []
    assert listing(kept.back / "tree") == listing(kept.original)


def test_a_list_that_has_one_chunk_for_all_of_a_large_file_takes_no_memory_for_it(kept: Kept) -> None:
    """As one who took over a writer may make it."""
    size = 1 << 40
    os.truncate(kept.at(SMALL), size)
    held = list(kept.repository.read(kept.snapshot))
    (item,) = (item for item in held if item.entry.path == b"tree/small")
    lying = item._replace(entry=item.entry._replace(size=size))
    os.utime(kept.at(SMALL), ns=(0, item.entry.mtime_ns))
    with pytest.raises(Damaged, match="`tree/small`"):
        kept.source.restore(kept.repository.read(kept.snapshot), [lying], kept.back, Restoring(overwrite=True))


def test_a_list_that_ends_within_a_name_costs_its_own_item_alone(kept: Kept) -> None:
    """As one who took over a writer may make it."""
    held = [
        item._replace(content=item.content[:-1]) if item.entry.path == b"tree/small" else item
        for item in kept.repository.read(kept.snapshot)
    ]
    kept.at(LARGE).unlink()
    with pytest.raises(Damaged, match="`tree/small`"):
        kept.source.restore(kept.repository.read(kept.snapshot), held, kept.back, Restoring(overwrite=True))
    assert listing(kept.back / "tree") == listing(kept.original)


def grow_by_a_byte(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.rename(path)


@pytest.mark.parametrize("change", [grow_by_a_byte, replace_by_another])
def test_what_changes_while_it_is_compared_is_replaced(
    kept: Kept, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened_and_changed(*what: Any) -> Any:
        found = opened_as_it_was(*what)
        if what[1] == LARGE.encode():
            change(kept.at(LARGE))
        return found

    monkeypatch.setattr(folder_writer, "opened_as_it_was", opened_and_changed)
    kept.restore()
    assert listing(kept.back / "tree") == listing(kept.original)


def test_a_journal_that_is_left_beside_what_stays_is_told(kept: Kept) -> None:
    database = kept.original / "data.db"
    database.write_bytes(b"SQLite format 3\0" + bytes(5_000))
    kept.snapshot = kept.repository.save(kept.source.capture(), about(1), kept.repository.destination)
    kept.restore()
    kept.at("data.db-wal").write_bytes(b"from before")
    told = kept.restore()
    assert "data.db-wal" in told[0]

"""A source that several captures share, divided anywhere, is the same snapshot as one capture makes of it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.division import Bounded, Division, _beside, divide, seems_large, stretches_from
from tasks.errors import Damaged
from tasks.item import Entry, Flaw, Item, Stored, order
from tasks.pieces import Digest, Large, Piece
from tasks.repository import Part, Repository, Snapshot, Whole
from tasks.repository.parts import in_pieces
from tasks.repository.previous import Previous
from tasks.sources.config import Config
from tasks.sources.file_restore import restore_files
from tasks.sources.filetree import FileTree
from tasks.sources.logs import Logs
from tasks.sources.models import Models
from tasks.sources.source import Restoring
from tasks.sources.stretch import Stretch
from tests.contracts.file_source import SETTLED
from tests.flows.trees import state_of
from tests.repositories import about, create, local

SEEDS = range(int(os.environ.get("GEOMETRA_DIVISIONS", "12")))
KINDS: list[type[FileTree]] = [Models, Config, Logs]


def grow(root: Path, chance: random.Random) -> None:
    """Names that sort oddly, empty folders, links of both kinds across folders, secrets, and contents that repeat."""
    files: list[Path] = []
    folders = [root]
    root.mkdir(exist_ok=True)
    for _ in range(chance.randrange(5, 60)):
        into = chance.choice(folders) / chance.choice(["a", "a-b", "a.b", "b", "c!", "é", "secret.key", "z"])
        path = into / f"{chance.randrange(9)}{chance.choice(['', '.txt', '.bin'])}"
        if os.path.lexists(path) or any(above.is_file() for above in path.parents):
            continue
        into.mkdir(parents=True, exist_ok=True)
        if chance.random() < 0.3:
            path.mkdir()
            folders.append(path)
        elif files and chance.random() < 0.3:
            os.link(chance.choice(files), path)
        elif chance.random() < 0.2:
            path.symlink_to("nowhere")
        else:
            path.write_bytes(random.Random(chance.randrange(6)).randbytes(chance.choice([0, 10, 3000, 200_000])))
            files.append(path)
    time.sleep(SETTLED)


def made(kind: type[FileTree], *roots: Path, **options: Any) -> FileTree:
    return kind("made", kind.Settings(kind=kind.kind, paths=roots, **options))  # type: ignore[call-arg, arg-type]


def cut_anywhere(source: FileTree, chance: random.Random) -> list[Stretch]:
    """Stretches that begin at any items whatever."""
    items = list(source.capture())
    starts = sorted(chance.sample([i.entry.path for i in items], min(len(items), chance.randrange(1, 6))), key=order)
    links = {item.entry.path: item.entry.link for item in items if item.entry.type == "h"}
    return list(stretches_from(starts, links))


def joined(repository: Repository, source: FileTree, stretches: list[Stretch], night: int) -> Snapshot:
    parts = []
    for stretch in stretches:
        stored = repository.store(source.capture_stretch(stretch), repository.destination, start=stretch.start)
        parts.append(Part.from_bytes(stored.to_bytes()))
    links = Division("here", tuple(stretches)).links
    counting = source.joined(part.facts for part in parts)
    return repository.join(parts, counting, about(night), repository.destination, links=links)


def assert_same(one: Repository, first: Snapshot, other: Repository, *, second: Snapshot, into: Path) -> None:
    assert [(i.entry, i.columns) for i in one.read(first)] == [(i.entry, i.columns) for i in other.read(second)]
    assert second.facts == first.facts
    assert second.content == first.content
    assert second.level == first.level
    for name in ("items", "files", "content_bytes", "flaws"):
        assert second.figures[name] == first.figures[name]
    states = []
    for repository, snapshot, name in ((one, first, "one"), (other, second, "other")):
        items = repository.read(snapshot)
        restore_files(items, items, into / name, Restoring())
        states.append(state_of(into / name))
        assert repository.check("content").good
    assert states[0] == states[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_the_tree_and_the_places_the_snapshot_is_that_of_one_capture(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    options: dict[str, Any] = {"include": ("*.txt", "é/")} if chance.random() < 0.4 else {}
    if kind is Config:
        options["leave_out_secrets"] = True
    roots = [tmp_path / "first", tmp_path / "second"]
    for root in roots:
        grow(root, chance)
    source = made(kind, *roots, **options)
    whole, divided = create(local(tmp_path / "whole")), create(local(tmp_path / "divided"))
    for night in range(2):
        first = whole.save(source.capture(), about(night), whole.destination)
        second = joined(divided, source, cut_anywhere(source, chance), night)
        assert_same(whole, first, divided, second=second, into=tmp_path / f"restored-{night}")
        for root in roots:
            grow(root, chance)


def test_a_second_night_reads_nothing_that_is_unchanged_however_it_is_divided(tmp_path: Path) -> None:
    chance = random.Random(5)
    grow(tmp_path / "tree", chance)
    source, repository = made(Models, tmp_path / "tree"), create(local(tmp_path / "store"))
    first = joined(repository, source, cut_anywhere(source, chance), 0)
    second = joined(repository, source, cut_anywhere(source, chance), 1)
    assert second.figures["unchanged"] == second.figures["files"] == first.figures["files"] > 0
    assert second.figures["read_bytes"] == second.figures["new_bytes"] == 0
    assert second.content == first.content


def test_what_did_not_change_counts_for_a_tenth(tmp_path: Path) -> None:
    for name, count in (("a", 1000), ("b", 300)):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "tree" / name / f"{number:03}").touch()
    time.sleep(SETTLED)
    source, repository = made(Models, tmp_path / "tree", part_files=100), create(local(tmp_path / "store"))
    repository.save(source.capture(), about(0), repository.destination)
    for path in (tmp_path / "tree" / "b").iterdir():
        path.write_bytes(b"more")
    division = divide(source, repository.last_groups(), "here")
    assert division
    assert [stretch.start[:7] for stretch in division.stretches] == [b"", b"tree/b", b"tree/b/", b"tree/b/"]


@pytest.mark.parametrize("vanishes", [False, True])
def test_a_source_that_grew_by_a_file_is_divided_in_the_midst_of_what_did_not_change(
    tmp_path: Path, vanishes: bool
) -> None:
    (tmp_path / "tree" / "b").mkdir(parents=True)
    for number in range(300):
        (tmp_path / "tree" / "b" / f"{number:03}").touch()
    time.sleep(SETTLED)
    source, repository = made(Models, tmp_path / "tree", part_files=300), create(local(tmp_path / "store"))
    repository.save(source.capture(), about(0), repository.destination)
    (tmp_path / "tree" / "a").touch()
    bounded = Bounded(source.capture(), source)
    repository.store(bounded, repository.destination)
    assert bounded.cut == b"tree/b/299"
    if vanishes:
        (tmp_path / "tree" / "b" / "299").unlink()
    division = divide(source, repository.last_groups(), "here", done_until=bounded.cut)
    assert division
    assert [stretch.start for stretch in division.stretches] == [b"", b"tree/b/299"]


def test_no_row_of_files_that_did_not_change_reaches_over_the_edge(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(500):
        (tmp_path / "tree" / f"{number:03}").touch()
    time.sleep(SETTLED)
    source, repository = made(Models, tmp_path / "tree"), create(local(tmp_path / "store"))
    repository.save(source.capture(), about(0), repository.destination)
    for edge in range(40, 80):
        last = Previous(repository.last_groups(), sure=True)
        rows = _beside(source.capture().listed(), last, order(b"tree/%03d" % edge))
        counted = [(item.entry.path, count) for item, _, count in rows]
        assert sum(count for path, count in counted if path < b"tree/%03d" % edge) == 1 + edge
        assert sum(count for _, count in counted) == 501


class Listed:
    """A capture of files that are not there, by size."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes

    def __iter__(self) -> Iterator[Item]:
        for number, size in enumerate(self._sizes):
            yield Item(Entry(b"root/%06d" % number, "f", size=size, version=(1, number)))


class Sized(Models):
    def __init__(self, sizes: list[int], **limits: Any) -> None:
        super().__init__("sized", Models.Settings(kind="models", paths=(Path("/x"),), **limits))  # type: ignore[call-arg, arg-type]
        self._sizes = sizes

    def capture_stretch(self, stretch: Stretch) -> Any:
        return Listed(self._sizes)


def shares(source: Sized, sizes: list[int], **how: Any) -> list[int]:
    division = divide(source, (), "here", **how)
    if division is None:
        return []
    paths = [order(b"root/%06d" % number) for number in range(len(sizes))]
    edges = [(order(each.start), order(each.end) if each.end else b"\xff") for each in division.stretches]
    return [sum(size for path, size in zip(paths, sizes, strict=True) if a <= path < b) for a, b in edges]


MB = 1_000_000


def test_large_files_are_divided_so_that_the_greatest_part_is_as_small_as_can_be() -> None:
    files = [250 * MB, 450 * MB, 425 * MB, 450 * MB, 425 * MB]
    assert shares(Sized(files, part_size="1000MB"), files) == [1125 * MB, 875 * MB]
    assert shares(Sized(files, part_size="2500MB"), files) == []
    assert shares(Sized(files, part_size="100MB", most_parts=64), files) == files
    assert shares(Sized(files, part_size="100MB", most_parts=1), files) == []


def test_many_small_files_are_divided_by_their_number() -> None:
    files = [10] * 100_000
    found = shares(Sized(files, part_files=10_000, most_parts=8), files)
    assert len(found) == 8
    assert sum(found) == sum(files)
    assert max(found) < 1.02 * sum(files) / 8


def test_what_was_captured_before_the_source_turned_out_large_is_a_part_of_its_own() -> None:
    files = [100 * MB] * 20
    found = shares(Sized(files, part_size="500MB"), files, done_until=b"root/000005")
    assert found == [500 * MB] * 4


def test_a_capture_ends_early_only_where_there_is_more_than_a_part(tmp_path: Path) -> None:
    files = [MB] * 10
    for size, taken in (("4MB", 4), ("10MB", 10), ("20MB", 10)):
        bounded = Bounded(Listed(files), Sized(files, part_size=size))  # type: ignore[arg-type]
        assert len(list(bounded)) == taken
        assert bounded.cut == (b"root/%06d" % taken if taken < 10 else b"")


@pytest.mark.parametrize(("limit", "most"), [("part_files", 200), ("part_files", 1), ("part_size", "1MB")])
def test_a_capture_ends_within_what_is_listed_together(tmp_path: Path, limit: str, most: int | str) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(300):
        (tmp_path / "tree" / f"{number:03}").write_bytes(bytes(8000))
    source = made(Models, tmp_path / "tree", **{limit: most})
    bounded = Bounded(source.capture(), source)
    files = len(list(bounded)) - 1
    assert files == (most if limit == "part_files" else 125)
    assert bounded.cut == b"tree/%03d" % files


def test_what_is_wrong_behind_the_cut_is_told_by_the_part_that_comes_to_it() -> None:
    class Flawed(Listed):
        def flaws(self) -> list[Flaw]:
            return [Flaw(b"root/%06d" % number, "unreadable") for number in (1, 3, 4, 7)]

    files = [MB] * 10
    for size, told in (("4MB", 2), ("20MB", 4)):
        bounded = Bounded(Flawed(files), Sized(files, part_size=size))  # type: ignore[arg-type]
        list(bounded)
        assert len(list(bounded.flaws())) == told


def test_of_many_files_that_are_larger_than_a_part_only_some_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for number in range(200):
        with (tmp_path / "models" / f"{number}.bin").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 4 * MB)
    time.sleep(SETTLED)
    source, opened = made(Models, tmp_path / "models", part_size="1MB", most_parts=16), list[bytes]()

    class Watched(FileTree):
        def capture_stretch(self, stretch: Stretch) -> Any:
            return [item._replace(open=partial(look, item)) for item in source.capture_stretch(stretch)]

    def look(item: Item) -> Any:
        opened.append(item.entry.path)
        assert item.open
        return item.open()

    division = divide(Watched("watched", source.settings), (), "here")
    assert division
    assert division.large == ()
    assert len(division.stretches) == 16
    assert 0 < len(opened) <= 16


def test_a_source_seems_large_by_what_it_was_or_by_its_first_files() -> None:
    files = [MB] * 10
    was = {"content_bytes": 10.0 * MB, "files": 10.0}
    assert seems_large(Sized(files, part_size="9MB"), None)
    assert not seems_large(Sized(files, part_size="11MB"), None)
    assert seems_large(Sized([], part_size="9MB"), was)
    assert seems_large(Sized([], part_files=9), was)
    assert not seems_large(Sized(files * 100, part_size="11MB"), was)


def test_logs_are_divided_only_between_folders(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / "logs" / folder).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "logs" / folder / f"{number}.log").write_bytes(b"x" * 400_000)
    division = divide(made(Logs, tmp_path / "logs", part_size="1MB"), (), "here")
    assert division
    assert [each.start for each in division.stretches] == [b"", b"logs/b", b"logs/c"]


def test_a_hard_link_whose_first_name_vanished_meanwhile_is_no_link_to_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/first").write_bytes(b"shared" * 1000)
    os.link(tree / "a/first", tree / "z")
    source, repository = made(Models, tree), create(local(tmp_path / "store"))
    stretches = [Stretch(b"", b"tree/z"), Stretch(b"tree/z", b"", {b"tree/z": b"tree/a/first"})]
    later = repository.store(source.capture_stretch(stretches[1]), repository.destination, start=b"tree/z")
    (tree / "a/first").unlink()
    earlier = repository.store(source.capture_stretch(stretches[0]), repository.destination)
    parts, links = [earlier, later], Division("here", tuple(stretches)).links
    snapshot = repository.join(parts, source.joined([]), about(0), repository.destination, links=links)
    assert [(flaw.path, flaw.what) for flaw in snapshot.flaws] == [("tree/z", "unreadable")]
    assert not snapshot.complete
    again = joined(repository, source, stretches, 1)
    assert again.complete
    assert [item.entry.type for item in repository.read(again)] == ["d", "d", "f"]


def test_a_division_survives_its_way_through_the_record() -> None:
    stretches = (Stretch(b"", b"caf\xe9/\xff"), Stretch(b"caf\xe9/\xff", b"", {b"x": b"a/\xfe"}))
    large = Large(b"caf\xe9/large", (5, 6), 10 * MB, "c64", want_digest=True, pieces=3)
    division = Division("here", stretches, (large,))
    assert Division.from_bytes(division.to_bytes()) == division
    assert division.links == {b"a/\xfe", b"caf\xe9/large"}


def test_what_takes_longest_is_begun_first() -> None:
    few, many = (Large(b"large", (5, 6), 40 * MB, "", want_digest=True, pieces=pieces) for pieces in (2, 10))
    division = Division("here", (Stretch(),), (many, few))
    begun = [division.parts[number - 1] for number in division.numbers]
    assert sorted(division.numbers) == [1 + at for at in range(len(division.parts))]
    kinds = [(type(part), part.size > 10 * MB) for part in begun if not isinstance(part, Stretch)]
    assert isinstance(begun[0], Stretch)
    # Halves of the file, then it is read for its digest, which takes no longer than a fourth does, then tenths.
    assert [kind for kind, _ in groupby(kinds)] == [(Piece, True), (Digest, True), (Piece, False)]


def test_pieces_are_all_of_a_file_and_begin_where_pages_do() -> None:
    for size in (4 * MB, 10 * MB + 1, 1000 * MB):
        digest, *pieces = Large(b"large", (5, 6), size, "c64", want_digest=True, pieces=4).parts()
        assert digest == Digest(b"large", (5, 6), size)
        assert 2 <= len(pieces) <= 4
        edges = [(piece.start, piece.end) for piece in pieces if isinstance(piece, Piece)]
        assert edges[0][0] == 0
        assert edges[-1][1] == size
        assert all(end == start and start % 65536 == 0 for (_, end), (start, _) in pairwise(edges))


def test_pieces_that_do_not_make_the_file_are_refused() -> None:
    whole = Whole(b"large", 6, b"digest", ((0, b"one"), (0, b"two")))

    def pieces(*found: Stored) -> Callable[[int, bytes], list[Stored]]:
        left = iter(found)
        return lambda level, content: [next(left)]

    first, second = (Stored(Entry(b"large", "f", size=size), 0, b"names") for size in (4, 2))
    assert in_pieces(whole, pieces(first, second)).entry == Entry(b"large", "f", size=6, digest=b"digest")
    wrong = Stored(Entry(b"other", "f", size=2)), Stored(Entry(b"large", "f", size=3)), second._replace(columns=(1, 4))
    for other in wrong:
        with pytest.raises(Damaged):
            in_pieces(whole, pieces(first, other))


def test_files_are_divided_into_pieces_where_it_is_worth_it(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for number, size in enumerate((9 * MB, 100_000, 2 * MB, 40 * MB)):
        with (tmp_path / "models" / f"{number}.bin").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    time.sleep(SETTLED)

    def pieces(source: FileTree) -> list[int]:
        division = divide(source, (), "here")
        return [large.pieces for large in division.large] if division else []

    root = tmp_path / "models"
    assert pieces(made(Models, root, part_size="4MB", most_parts=64)) == [3, 10]
    assert pieces(made(Models, root, part_size="30MB", most_parts=64)) == []
    assert pieces(made(Models, root, part_size="20MB", most_parts=64)) == [2]
    assert sum(pieces(made(Models, root, part_size="4MB", most_parts=8))) <= 8
    assert pieces(made(Models, root, part_size="4MB", most_parts=1)) == []
    assert pieces(made(Logs, root, part_size="4MB", most_parts=64)) == [], "they may be renamed while they are read"

"""Some of a long item list: what is chosen of it is the same as by reading all, and little else is read."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tasks.chosen import Chosen
from tasks.errors import Damaged, NotFound
from tasks.item import FOLDER, HARDLINK, SortedItems, Stored, order
from tasks.repository import Items, Repository, block, whereabouts
from tasks.repository.pack import LISTS, NAME, object_name
from tests.memory_source import File
from tests.repositories import save

FOLDERS = [b"a", b"a-b", b"a.b", b"a/b", b"a/b-c", b"a/b/c", b"a/\xff\xfe", b"b", b"b/empty", b"b\\x", b"\xc3\xa4"]


def folder(path: bytes) -> File:
    return File(entry={"type": FOLDER, "size": 0})


def link(to: bytes) -> File:
    return File(entry={"type": HARDLINK, "size": 0, "link": to})


@pytest.fixture
def awkward(repository: Repository) -> Items:
    """Names that sort around `/`, that are no UTF-8, that end where others go on; and links from each folder to all."""
    files: dict[bytes, File | bytes] = {path: folder(path) for path in FOLDERS}
    for at, path in enumerate(FOLDERS):
        if path != b"b/empty":
            files |= {path + b"/%04d" % number: b"%d" % (number % 7) for number in range(60)}
            files |= {path + b"/z%d" % to: link(FOLDERS[to] + b"/0007") for to in range(at + 1) if to != 8}
            files[path + b"/0007\nold"] = files[path + b"/0007 \xff"] = b"odd"
    return repository.read(save(repository, files, 0))


def test_what_is_chosen_is_what_reading_all_would_choose(awkward: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    everything, dice = list(awkward), random.Random(3)
    known = [item.entry.path for item in everything]
    typed = [b"", b"/", b"..", b"a/..", b"a//b", b"a/", b"/a/b/", b"nowhere", b"zz", b"a/\\xff\\xfe", b"\\xe4", b"b\\x"]
    typed += [b"a/0007\\nold", b"a/0007 \\xff", b"a\0b", b"a/b/0007/below", b"A", *known]
    lines = [
        "/a/b",
        "a/b/c/*",
        "/a/b-c/z?",
        "!a/b/0001",
        "/b/",
        "a-b/00[0-3]?",
        "/b/empty",
        "*.b",
        "/\xe4/z*",
        "a/**/z1",
    ]
    for most in (0, 2, 64):
        monkeypatch.setattr(whereabouts, "_MOST", most)
        for _ in range(80):
            paths = dice.choices(typed, k=dice.choice((0, 1, 1, 2, 5)))
            patterns = dice.choices(lines, k=dice.choice((0, 0, 1, 2)))
            assert _told(awkward, patterns, paths) == _told(everything, patterns, paths), (patterns, paths)


def _told(items: Iterable[Stored], patterns: list[str], paths: list[bytes]) -> object:
    assert isinstance(items, SortedItems) == isinstance(items, Items)
    try:
        chosen = Chosen(items, patterns, paths)
    except NotFound as error:
        return str(error)
    return list(chosen), list(chosen), chosen.count, chosen.content_bytes, chosen.moved


def test_all_below_some_paths_is_found_once_in_order_and_little_else(awkward: Items) -> None:
    everything = list(awkward)
    known = [item.entry.path for item in everything]
    for path in (*known, b"a/nowhere", b"0", b"zz"):
        found = list(awkward.below([path]))
        wanted = [item for item in everything if item.entry.path == path or item.entry.path.startswith(path + b"/")]
        assert [item for item in found if item in wanted] == wanted
        assert len(found) <= len(wanted) + 160, "no more than the groups at both ends"
    some = list(awkward.below([b"b", b"a/b/c", b"a", b"a/b", b"a/b"]))
    assert [order(item.entry.path) for item in some] == sorted({order(item.entry.path) for item in some})
    assert list(awkward.below([])) == []


@pytest.mark.parametrize("place", [0.0, 0.5, 0.6, 0.75, 1.0])
def test_what_lies_elsewhere_in_the_list_may_be_lost(repository: Repository, place: float) -> None:
    """A snapshot of which a million files are listed is restored in part without what is told of the others, also where
    that is what bisection comes to first."""
    files = {b"%02d/%04d" % (at // 100, at): b"" for at in range(5000)}
    snapshot = save(repository, files, 0)
    items = repository.read(snapshot)
    names = bytearray(b"".join(items.lists(snapshot.level, bytes.fromhex(snapshot.content), "the list")))
    known = [item.entry.path for item in items]
    lost = int((len(names) // NAME - 2) * place) * NAME
    names[lost : lost + 2 * NAME] = bytes(2 * NAME)
    harmed = repository.read(replace(snapshot, level=0, content=names.hex()))
    with pytest.raises(Damaged):
        list(harmed)
    refused = list[int]()
    for at, path in enumerate(known):
        try:
            found = [item.entry.path for item in harmed.below([path])]
        except Damaged:
            refused.append(at)
        else:
            assert path in found
    assert len(refused) < 200, "in those that are lost, and in the one before them"
    assert refused == list(range(refused[0], refused[-1] + 1))
    assert Chosen(harmed, ["/12/12[0-4]?"]).count == 50


def test_a_block_of_the_list_that_is_damaged_costs_what_it_lists_alone(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes lie among the groups that they name, so that it holds some of them too."""
    monkeypatch.setattr(block, "LIST_TARGET", 32 << 10)
    snapshot = save(repository, {b"%02d/%04d" % (at // 100, at): b"" for at in range(10_000)}, 0)
    known = [item.entry.path for item in repository.read(snapshot)]
    packs = [pack for _, some in repository.index_objects() for pack in some if pack.kind == LISTS]
    pack = max(packs, key=lambda pack: len(pack.listed.located(LISTS)))
    name, blocks = object_name(pack.name), pack.listed.located(LISTS)
    at = len(blocks) // 2
    data = bytearray(repository.destination.get(name))
    data[blocks[at].offset] ^= 1
    repository.destination.delete(name)
    repository.destination.put(name, bytes(data))
    harmed = repository.read(snapshot)
    with pytest.raises(Damaged):
        list(harmed)
    refused = list[int]()
    for number, path in enumerate(known):
        try:
            found = [item.entry.path for item in harmed.below([path])]
        except Damaged:
            refused.append(number)
        else:
            assert path in found
    assert snapshot.level
    assert 0 < len(refused) < len(known) / 2
    assert refused == list(range(refused[0], refused[-1] + 1))

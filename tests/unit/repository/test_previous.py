"""A new list beside the last one: what comes again is found, and a group that comes again whole is not made again."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

import pytest

from tasks.item import FILE, Entry, Stored
from tasks.repository import records
from tasks.repository.known import Known
from tasks.repository.pack import CONTENT, NAME, BlockList, Encoded, SealedPack, header_size
from tasks.repository.previous import Previous
from tasks.repository.records import Group, Grouper
from tests.unit.repository.test_records import Kept, grouped, items_of, many


def groups_of(kept: Kept, level: int, content: bytes) -> list[Group]:
    names = kept.flattened(level, content)
    return [Group(name, len(kept.chunks[name]), list(records.decode(kept.chunks[name]))) for name in names]


def knowing(*names: bytes) -> Known:
    listed = BlockList()
    listed.add(100, Encoded(0, b"", len(names), b"".join(names), array("I", [1] * len(names))))
    known = Known()
    known.add(SealedPack(bytes(NAME), CONTENT, header_size(CONTENT) + 200, listed))
    return known


class Made:
    """A list made beside an earlier one: what was encoded of it, and what it came to."""

    def __init__(self, items: list[Stored], before: list[Group], kept: Kept) -> None:
        self.kept = Kept()
        self.kept.chunks |= kept.chunks
        self.encoded = 0
        grouper, previous = Grouper(self._keep, self.kept.chunks.__contains__), Previous(before)
        for item in items:
            old = previous.find(item.entry.path)
            if old == item:
                grouper.add_again(previous.group, previous.at, 1)
            else:
                grouper.add(item)
        self.level, self.content = grouper.finish()

    def _keep(self, data: bytes) -> bytes:
        self.encoded += 1
        return self.kept(data)


def changes(items: list[Stored], dice: random.Random) -> Iterator[Stored]:
    for item in items:
        chance = dice.random()
        if chance < 0.02:
            yield Stored(item.entry._replace(size=7), 0, b"y" * NAME)
        elif chance < 0.04:
            yield item
            yield Stored(Entry(item.entry.path + b"-more", FILE))
        elif chance >= 0.06:
            yield item


@pytest.mark.parametrize("count", [0, 1, 3, 17, 300, 2000])
@pytest.mark.parametrize("seed", range(5))
def test_a_list_beside_an_earlier_one_is_the_list_that_it_would_be_alone(count: int, seed: int) -> None:
    kept, level, content = grouped(many(count))
    after = list(changes(many(count), random.Random(seed)))
    made = Made(after, groups_of(kept, level, content), kept)
    alone, *expected = grouped(after)
    assert [made.level, made.content] == expected
    assert items_of(made.kept, made.level, made.content) == after
    assert made.kept.chunks.keys() - kept.chunks.keys() == alone.chunks.keys() - kept.chunks.keys()


def test_only_the_nodes_of_an_unchanged_list_are_made_again() -> None:
    kept, level, content = grouped(many(5000))
    before = groups_of(kept, level, content)
    made = Made(many(5000), before, kept)
    assert (made.level, made.content) == (level, content)
    assert made.encoded == len(kept.chunks) - len(before)


def test_what_follows_the_end_of_an_earlier_list_joins_its_last_group() -> None:
    items = many(5000)
    for end in range(1000, 1020):
        kept, level, content = grouped(items[:end])
        made = Made(items[: end + 40], groups_of(kept, level, content), kept)
        assert (made.level, made.content) == grouped(items[: end + 40])[1:]


def test_a_group_that_is_not_there_any_more_is_stored_again() -> None:
    kept, level, content = grouped(many(300))
    before = groups_of(kept, level, content)
    lost = before[5].name
    kept.chunks.pop(lost)
    made = Made(many(300), before, kept)
    assert (made.level, made.content) == (level, content)
    assert lost in made.kept.chunks


def test_each_path_is_found_where_it_lies_however_many_others_there_are() -> None:
    items = many(2000)
    kept, level, content = grouped(items)
    previous = Previous(groups_of(kept, level, content))
    for at, item in enumerate(items):
        if at % 3 == 0:
            assert previous.find(item.entry.path) == item
            assert previous.group.items[previous.at] == item
        elif at % 3 == 1:
            assert previous.find(item.entry.path + b"!") is None
    assert previous.find(b"zzz") is None
    assert previous.find(b"zzzz") is None


def test_it_says_whose_chunks_are_known_still() -> None:
    paths = [b"empty", b"known", b"long", b"lost", b"nodes"]
    known, lost = b"k" * NAME, b"l" * NAME
    contents = [(0, b""), (0, known), (0, known + known), (0, lost), (1, known)]
    items = [Stored(Entry(path, FILE), *content) for path, content in zip(paths, contents, strict=True)]
    previous = Previous([Group(b"", 0, items)], knowing(known))
    found = {}
    for path in paths:
        assert previous.find(path)
        found[path] = previous.there
    assert found == {b"empty": True, b"known": True, b"long": None, b"lost": False, b"nodes": None}

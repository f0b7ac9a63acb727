"""How a restore is divided: every item in one portion, in order, and each portion about as large as the others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from tasks.chosen import Chosen
from tasks.errors import Damaged, Occupied
from tasks.item import FILE, FOLDER, HARDLINK, Entry, Stored, order
from tasks.portions import Portions, divided
from tasks.sources.source import Limits
from tests.contracts.memory_items import MemoryItems

LIMITS = Limits(size=1000, files=1000, parts=16)


class Listed(MemoryItems):
    """Reads from the middle on, in groups of five."""

    def since(self, path: bytes) -> Iterator[Stored]:
        at = bisect_right([order(item.entry.path) for item in self._items], order(path))
        yield from self._items[max(at - 1, 0) // 5 * 5 :]

    def below(self, paths: Collection[bytes]) -> Iterator[Stored]:
        last = max(map(order, paths), default=b"") + b"\1"
        first = self.since(min(paths, key=order)) if paths else iter(())
        return takewhile(lambda item: order(item.entry.path) < last, first)


def item(path: str, kind: str = FILE, *, link: str = "", size: int = 100) -> Stored:
    return Stored(Entry(path.encode(), kind, size=size if kind == FILE else 0, link=link.encode()))


def tree(folders: int = 10, files: int = 10) -> list[Stored]:
    items = [item("top", FOLDER)]
    for folder in range(folders):
        items.append(item(f"top/{folder:02}", FOLDER))
        items += [item(f"top/{folder:02}/{number:03}") for number in range(files)]
    return [*items, item("top/zz", HARDLINK, link="top/00/000")]


def portions_of(
    items: list[Stored], into: Path, *patterns: str, limits: Limits = LIMITS, overwrite: bool = False
) -> Portions:
    into.mkdir(exist_ok=True)
    chosen = Chosen(items, patterns) if patterns else items
    found = divided(Portions("name", "snapshot", str(into), patterns, overwrite), chosen, limits)
    assert found
    again = Portions.from_bytes(found.to_bytes())
    assert again == found
    return again


def joined(portions: Portions, items: list[Stored]) -> list[Stored]:
    return [each for n in range(len(portions)) for each in portions.chosen(n + 1, Listed(items))]


def test_all_portions_together_are_all_items_in_order(tmp_path: Path) -> None:
    items = tree()
    portions = portions_of(items, tmp_path)
    assert len(portions) == 10
    assert joined(portions, items) == items
    sizes = [sum(each.entry.size for each in portions.chosen(n + 1, Listed(items))) for n in range(len(portions))]
    assert max(sizes) - min(sizes) <= 200
    edges = [order(start) for start in portions.starts]
    assert all(before < after for before, after in pairwise(edges))


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        (Limits(10_000_000, 1000, 16), 1),
        (Limits(1000, 1000, 1), 1),
        (Limits(1000, 1000, 3), 3),
        (Limits(10_000_000, 25, 16), 4),
    ],
)
def test_there_are_as_many_as_it_is_large(tmp_path: Path, limits: Limits, count: int) -> None:
    portions = portions_of(tree(), tmp_path, limits=limits)
    assert len(portions) == count
    assert joined(portions, tree()) == tree()


def test_a_portion_that_begins_below_chosen_folders_knows_them(tmp_path: Path) -> None:
    items = tree(1, 40)
    portions = portions_of(items, tmp_path)
    above = [[each.entry.path for each in portions.above(n + 1, Listed(items))] for n in range(len(portions))]
    assert above[0] == []
    assert above[1:] == [[b"top", b"top/00"]] * (len(portions) - 1)
    chosen = portions_of(items, tmp_path, "0??")
    assert list(chosen.above(2, Listed(items))) == []


def test_what_comes_in_place_of_a_partner_that_is_not_chosen_is_in_its_portion_as_a_file(tmp_path: Path) -> None:
    links = [item(f"zz/{name}", HARDLINK, link="top/00/003") for name in "ab"]
    items = [*tree(), item("zz", FOLDER), *links]
    portions = portions_of(items, tmp_path, "/zz", "/top/0[1-9]")
    assert portions.moved == {b"zz/a": b"top/00/003"}
    whole = list(Chosen(items, ["/zz", "/top/0[1-9]"]))
    together = joined(portions, items)
    assert [each for each in together if each.entry.type == FILE] == [each for each in whole if each.entry.type == FILE]
    assert [each.entry.path for each in together] == [each.entry.path for each in whole]


def test_what_was_there_is_remembered_and_what_is_in_the_way_refused(tmp_path: Path) -> None:
    (tmp_path / "top/03").mkdir(parents=True)
    assert portions_of(tree(), tmp_path).there == (b"top", b"top/03")
    (tmp_path / "top/03/004").touch()
    with pytest.raises(Occupied):
        portions_of(tree(), tmp_path)
    assert portions_of(tree(), tmp_path, overwrite=True).there == ()


def test_what_can_t_be_read_of_the_record_is_told() -> None:
    with pytest.raises(Damaged):
        Portions.from_bytes(b"nonsense")


def test_a_folder_of_an_odd_name_is_remembered(tmp_path: Path) -> None:
    portions = portions_of(tree(), tmp_path / "odd \udcff")
    assert portions.into == tmp_path / "odd \udcff"

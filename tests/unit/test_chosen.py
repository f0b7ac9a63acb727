"""Which items of a snapshot come back: patterns, exact paths, and hard links whose partner stays behind."""

from __future__ import annotations

import pytest

from tasks.chosen import Chosen
from tasks.errors import NotFound, SettingsError
from tasks.item import FILE, FOLDER, HARDLINK, Entry, Stored
from tasks.sources.path_text import path_text


def item(path: str, kind: str = FILE, link: str = "", size: int = 10) -> Stored:
    return Stored(
        Entry(path.encode(), kind, size=size if kind == FILE else 0, link=link.encode()), content=path.encode()
    )


ITEMS = [
    item("conf", FOLDER),
    item("conf/a.toml"),
    item("conf/b.ini"),
    item("conf/deep", FOLDER),
    item("conf/deep/c.toml"),
    item("conf-old", FOLDER),
    item("conf-old/a.toml"),
]


def paths(chosen: Chosen) -> list[str]:
    return [each.entry.path.decode() for each in chosen]


def test_a_pattern_chooses_at_any_depth() -> None:
    chosen = Chosen(ITEMS, ["*.toml"])
    assert paths(chosen) == ["conf/a.toml", "conf/deep/c.toml", "conf-old/a.toml"]
    assert (chosen.count, chosen.content_bytes) == (3, 30)


def test_a_chosen_folder_comes_with_all_that_is_in_it() -> None:
    assert paths(Chosen(ITEMS, ["/conf/deep/"])) == ["conf/deep", "conf/deep/c.toml"]
    assert paths(Chosen(ITEMS, ["*.toml", "!/conf-old/**"])) == ["conf/a.toml", "conf/deep/c.toml"]


def test_an_exact_path_chooses_itself_and_what_is_below_and_nothing_that_only_starts_like_it() -> None:
    assert paths(Chosen(ITEMS, [], [b"conf"])) == ["conf", "conf/a.toml", "conf/b.ini", "conf/deep", "conf/deep/c.toml"]
    assert paths(Chosen(ITEMS, [], [b"/conf/a.toml"])) == ["conf/a.toml"]


def test_a_path_with_the_signs_of_patterns_is_taken_as_it_is() -> None:
    items = [item("a[1].toml"), item("a1.toml")]
    assert paths(Chosen(items, [], [b"a[1].toml"])) == ["a[1].toml"]


def test_a_path_may_be_typed_as_it_is_shown() -> None:
    odd = item("")
    odd = odd._replace(entry=odd.entry._replace(path=b"conf/of\xff\nold\\name"))
    shown = path_text(odd.entry.path).encode()
    assert shown == rb"conf/of\xff\nold\name"
    assert [each.entry.path for each in Chosen([*ITEMS, odd], [], [shown])] == [odd.entry.path]


def test_a_path_at_which_there_is_nothing_is_an_error_whatever_else_is_chosen() -> None:
    with pytest.raises(NotFound, match=r"matches `conf/typo\.toml`, `nowhere`:"):
        Chosen(ITEMS, ["*.ini"], [b"conf/a.toml", b"nowhere", b"conf/typo.toml"])
    assert Chosen(ITEMS, [], [b"conf", b"conf/a.toml"]).count == 5


def test_it_can_be_gone_through_twice() -> None:
    chosen = Chosen(ITEMS, ["*.ini"])
    assert paths(chosen) == paths(chosen) == ["conf/b.ini"]


def test_nothing_chosen_is_an_error_that_names_what_was_asked_for() -> None:
    with pytest.raises(NotFound, match=r"\*\.yaml"):
        Chosen(ITEMS, ["*.yaml"])


def test_what_is_no_pattern_is_an_error() -> None:
    with pytest.raises(SettingsError, match="pattern"):
        Chosen(ITEMS, ["!"])


def test_hard_links_whose_partner_stays_behind_come_as_one_file_and_links_to_it() -> None:
    items = [
        item("a", FOLDER),
        item("a/file"),
        item("b", FOLDER),
        item("b/one", HARDLINK, "a/file"),
        item("b/two", HARDLINK, "a/file"),
    ]
    chosen = Chosen(items, [], [b"b"])
    _, one, two = chosen
    assert (chosen.count, chosen.content_bytes, chosen.moved) == (3, 10, {b"b/one": b"a/file"})
    assert (one.entry.path, one.entry.type, one.content) == (b"b/one", FILE, b"a/file")
    assert (two.entry.path, two.entry.type, two.entry.link) == (b"b/two", HARDLINK, b"b/one")


def test_hard_links_with_their_partner_stay_what_they_are() -> None:
    items = [item("a"), item("b", HARDLINK, "a")]
    assert list(Chosen(items, ["*"])) == items

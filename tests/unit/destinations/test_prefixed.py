"""What the contract leaves open about a view of one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.destinations import Destination, Listed, Local, Prefixed
from tasks.destinations.local import LocalSettings
from tasks.errors import Missing, Refused


@pytest.fixture
def whole(tmp_path: Path) -> Destination:
    return Local(LocalSettings(path=tmp_path))


@pytest.mark.parametrize("prefix", ["redis/", "redis"])
def test_its_objects_lie_in_the_folder(whole: Destination, prefix: str) -> None:
    Prefixed(whole, prefix).put("packs/0a", b"x")
    assert list(whole.list()) == [Listed("redis/packs/0a", 1)]
    assert list(Prefixed(whole, prefix).list("packs/")) == [Listed("packs/0a", 1)]


def test_sources_of_similar_names_do_not_see_each_other(whole: Destination) -> None:
    for source in ("redis", "redis-2", "redi", "a-redis"):
        Prefixed(whole, source).put("snapshots/one", source.encode())
    for source in ("redis", "redis-2", "redi", "a-redis"):
        view = Prefixed(whole, source)
        assert list(view.list()) == [Listed("snapshots/one", len(source))]
        assert view.get("snapshots/one") == source.encode()
    Prefixed(whole, "redis").delete("snapshots/one")
    assert len(list(whole.list())) == 3


def test_a_view_of_a_view_is_a_folder_in_a_folder(whole: Destination) -> None:
    Prefixed(Prefixed(whole, "a/b/"), "a/b/").put("a/b/c", b"x")
    assert [each.name for each in whole.list()] == ["a/b/a/b/a/b/c"]
    assert [each.name for each in Prefixed(Prefixed(whole, "a/b/"), "a/b/").list("a/")] == ["a/b/c"]


@pytest.mark.parametrize("prefix", ["", "/", "../", "a//", "/a/", ".tmp/", "a b/"])
def test_a_bad_folder_is_refused(whole: Destination, prefix: str) -> None:
    with pytest.raises(Refused):
        Prefixed(whole, prefix)


def test_its_errors_say_where_the_object_really_is(whole: Destination) -> None:
    with pytest.raises(Missing, match="redis/nothing"):
        Prefixed(whole, "redis").get("nothing")


def test_a_name_that_is_too_long_only_with_the_prefix_is_refused(whole: Destination) -> None:
    name = "/".join(["a" * 200] * 4)
    with pytest.raises(Refused):
        Prefixed(whole, "b" * 150).put(name, b"")

"""Addresses of Redis, and patterns of keys."""

from __future__ import annotations

import pytest

from tasks.errors import SettingsError
from tasks.sources.redis import RedisTarget
from tasks.sources.redis_store.glob import matcher
from tasks.sources.redis_store.place import Place, place_of


def place(url: str, **options: str) -> Place:
    return place_of(RedisTarget.model_validate({"url": url, **options}))


def test_forms_of_addresses() -> None:
    assert place("redis://host").shown == "redis://host:6379"
    assert place("rediss://host:7000/3").tls is not None
    assert place("rediss://host:7000/3").database == 3
    assert place("redis://[::1]:7").shown == "redis://[::1]:7"
    assert place("unix:///run/a%20b.sock?db=4") == Place(socket="/run/a b.sock", database=4)
    found = place("redis+sentinel://one,two:99/main")
    assert (found.sentinels, found.master) == ((("one", 26379), ("two", 99)), "main")


@pytest.mark.parametrize(
    "url", ["http://host", "redis://host:port", "unix://host/path", "redis+sentinel://one", "redis://host/name"]
)
def test_what_is_no_address_says_how_one_looks(url: str) -> None:
    with pytest.raises(SettingsError, match="redis://host:6379") as raised:
        place(url)
    assert "\n" not in str(raised.value)


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTED_URL", "redis://me:geh%65im@host:99999999")
    with pytest.raises(SettingsError) as raised:
        place("env:TESTED_URL")
    assert "geh" not in str(raised.value) + repr(raised.value.__cause__)
    monkeypatch.setenv("TESTED_URL", "redis://me:geh%65im@host")
    found = place("env:TESTED_URL")
    assert (found.username, found.password) == ("me", "geheim")
    assert "geheim" not in repr(found) + found.shown


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("user:*", [b"user:", b"user:1", b"user:\n\xff"], [b"User:1", b"a user:1"]),
        ("h?llo", [b"hello", b"h\xffllo"], [b"hllo", b"heello"]),
        ("h[a-c]*", [b"ha", b"hbx"], [b"hd"]),
        ("h[^a]", [b"hb"], [b"ha"]),
        (r"a\*", [b"a*"], [b"ab"]),
        ("a.b+", [b"a.b+"], [b"axbb"]),
        ("[c-a]", [b"b"], [b"d"]),
    ],
)
def test_patterns_match_as_the_server_matches(pattern: str, yes: list[bytes], no: list[bytes]) -> None:
    matches = matcher(pattern).fullmatch
    assert all(map(matches, yes))
    assert not any(map(matches, no))

"""Snapshots as they are stored, and their names."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.destinations.destination import is_name
from tasks.errors import Damaged, NewerFormat
from tasks.repository import Flawed, Snapshot, snapshot_id
from tasks.repository.snapshot import FORMAT

NAME = "snapshots/20261101T020000Z-1a2b3c4d"

SNAPSHOT = Snapshot(
    id="20261101T020000Z-1a2b3c4d",
    source="docs",
    kind="files",
    run="run-1",
    plan="nightly",
    host="höst",
    started=datetime(2026, 11, 1, 2, 0, 0, 123456, tzinfo=UTC),
    finished=datetime(2026, 11, 1, 4, 0, tzinfo=timezone(timedelta(hours=2))),
    complete=False,
    version="0.1.0",
    level=1,
    content="00" * 16,
    roots={"docs": "/srv/docs"},
    flaws=(Flawed("a/\udcff", "partial", "it grew", True), Flawed("b", "vanished", "")),
    packs=("11" * 16,),
    facts={"rows": {"users": 12}, "digest": None, "list": [1, 2.5, "x"]},
    figures={"items": 3, "seconds": 0.25},
)


def test_a_snapshot_comes_back_with_every_field() -> None:
    again = Snapshot.from_bytes(NAME, SNAPSHOT.to_bytes())
    for each in fields(Snapshot):
        assert getattr(again, each.name) == getattr(SNAPSHOT, each.name), each.name
    assert again.started.utcoffset() == timedelta(0)


def test_a_later_field_does_not_disturb() -> None:
    data = json.loads(SNAPSHOT.to_bytes())
    assert Snapshot.from_bytes(NAME, json.dumps({**data, "later": 1}).encode()) == SNAPSHOT


def test_a_newer_format_says_so() -> None:
    data = json.loads(SNAPSHOT.to_bytes())
    with pytest.raises(NewerFormat, match=NAME):
        Snapshot.from_bytes(NAME, json.dumps({**data, "format": FORMAT + 1}).encode())


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"null", b"\xff", b'{"format": "one"}', b'{"format": 1}'])
def test_what_is_no_snapshot_is_damaged(payload: bytes) -> None:
    with pytest.raises(Damaged, match=NAME):
        Snapshot.from_bytes(NAME, payload)


@pytest.mark.parametrize("missing", [each.name for each in fields(Snapshot)])
def test_a_snapshot_without_a_field_is_damaged(missing: str) -> None:
    data = json.loads(SNAPSHOT.to_bytes())
    del data[missing]
    with pytest.raises(Damaged):
        Snapshot.from_bytes(NAME, json.dumps(data).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "20261101T020000Z-00000000"},
        {"started": "2026-11-01T02:00:00"},
        {"finished": "2026-11-01T02:00:00"},
        {"level": -1},
        {"level": 1 << 20},
        {"level": "1"},
        {"content": "no hex"},
        {"packs": ["no hex"]},
        {"packs": [1]},
        {"roots": ["docs"]},
        {"roots": {"docs": 1}},
        {"facts": []},
        {"figures": {"items": "3"}},
        {"figures": []},
        {"host": None},
        {"complete": "yes"},
        {"flaws": [{"path": 1, "what": "partial", "why": ""}]},
        {"flaws": ["a"]},
    ],
    ids=str,
)
def test_what_no_capture_writes_is_damaged(wrong: dict[str, object]) -> None:
    data = json.loads(SNAPSHOT.to_bytes())
    with pytest.raises(Damaged, match=NAME):
        Snapshot.from_bytes(NAME, json.dumps(data | wrong).encode())


def test_what_is_nested_without_end_is_damaged() -> None:
    with pytest.raises(Damaged, match=NAME):
        Snapshot.from_bytes(NAME, b"[" * 200_000)


MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))


@given(source=st.text(min_size=1, max_size=20), run=st.text(max_size=20), first=MOMENTS, second=MOMENTS)
def test_ids_are_the_same_for_the_same_and_sort_by_time(
    source: str, run: str, first: datetime, second: datetime
) -> None:
    made = snapshot_id(source, run, first)
    assert made == snapshot_id(source, run, first.astimezone(timezone(timedelta(hours=-7))))
    assert is_name(f"snapshots/{made}")
    assert made != snapshot_id(source, run + "x", first)
    assert made != snapshot_id(source + "x", run, first)
    later = snapshot_id(source, run, second)
    if first.replace(microsecond=0) < second.replace(microsecond=0):
        assert made < later


def test_a_snapshot_is_never_changed() -> None:
    with pytest.raises(AttributeError):
        SNAPSHOT.complete = True  # type: ignore[misc]  # that is the point
    assert replace(SNAPSHOT, complete=True).complete

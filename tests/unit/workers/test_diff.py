"""What `diff` takes for a change."""

from __future__ import annotations

import pytest
from blake3 import blake3

from tasks.content_digest import content_digest
from tasks.item import FILE, Entry, Stored
from tasks.repository import records
from workers.cli.diff import CHANGED, METADATA, compare

CONTENT = b"weights"
BEFORE = Stored(Entry(b"a", FILE, 0o644, mtime_ns=1, size=7, digest=content_digest(CONTENT)), 0, b"x" * 16)


def changes(before: Stored, after: Stored) -> list[str]:
    return [change for change, _ in compare(iter([before]), iter([after]))]


def test_a_file_whose_digest_an_earlier_build_noted_is_not_touched_by_the_update() -> None:
    noted = BEFORE._replace(entry=BEFORE.entry._replace(digest=blake3(CONTENT).digest()))
    (earlier,) = records.decode(records.encode(noted))
    assert changes(earlier, BEFORE) == changes(BEFORE, earlier) == []


@pytest.mark.parametrize(
    ("after", "change"),
    [
        (BEFORE._replace(entry=BEFORE.entry._replace(mtime_ns=2)), METADATA),
        (BEFORE._replace(entry=BEFORE.entry._replace(mode=0o600)), METADATA),
        (BEFORE._replace(content=b"y" * 16), CHANGED),
    ],
)
def test_other_bytes_and_other_metadata_are_told_apart(after: Stored, change: str) -> None:
    assert changes(BEFORE, after) == [change]

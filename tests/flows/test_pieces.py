"""Single files so large that several workers share them: the same item as of one capture, or read again in one go."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.capture import capture, capture_part
from tasks.division import Division
from tasks.item import Stored
from tasks.outcome import Outcome
from tasks.pieces import Digest, Piece
from tasks.record import Run
from tests.flows import kinds
from tests.flows.house import House
from tests.flows.test_night import assert_restores, local, originals_of
from tests.flows.test_parts import assert_clean, assert_divided

MB = 1_000_000
PARTS = {"part_size": "3MB", "most_parts": 16}


def grown(house: House, kind: str = "models", **options: Any) -> dict[str, Any]:
    """Two large files, one of them a database and one with a name further on, between small ones."""
    root = house.folder / "originals" / kind
    (root / "b").mkdir(parents=True)
    for number, name in enumerate(("a.bin", "b/large.bin", "c.bin")):
        size = 12 * MB + 12345 if name == "b/large.bin" else 700_000
        (root / name).write_bytes(random.Random(number).randbytes(size))
    os.link(root / "b/large.bin", root / "z link.bin")
    with closing(sqlite3.connect(root / "d.sqlite")) as database:
        database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB)")
        rows = ((random.Random(number).randbytes(700),) for number in range(12_000))
        database.executemany("INSERT INTO rows (data) VALUES (?)", rows)
        database.commit()
    settled()
    return {"kind": kind, "paths": [root], **PARTS, **options}


def settled() -> None:
    time.sleep(0.05)


class Capturing:
    """Captures of one source in this process, in a house without workers."""

    def __init__(self, house: House, **options: Any) -> None:
        self.house = house
        house.configure({"models": grown(house, **options)}, {"here": local(house)})
        self.root = house.folder / "originals/models"
        self.division: Division | None = None
        self._runs = 0

    def night(self, before: Callable[[int], None] = lambda number: None, *, shared: bool = True) -> Outcome:
        """`before` hears of each part that is about to be captured, which come in their order."""
        self._runs += 1
        run = Run(f"run-{self._runs}", "", "", datetime.now(UTC), ("backup/models",))
        self.house.record.begin(run)
        self.division = None

        def share(division: Division) -> None:
            self.division = division
            for number in range(1, len(division.parts) + 1):
                before(number)
                capture_part(self.house.installation, "models", run, str(number))

        with self.house.configured():
            return capture(self.house.installation, "models", run, sharing=share if shared else None)

    def items(self, outcome: Outcome) -> dict[bytes, Stored]:
        installation = self.house.installation
        (sealed,) = (each for each in installation.spool.all_sealed() if each.snapshot == outcome.snapshot)
        repository = installation.spooled(sealed)
        return {item.entry.path: item for item in repository.read(repository.snapshot(outcome.snapshot))}

    def pieces(self) -> list[Piece]:
        assert self.division
        return [part for part in self.division.parts if isinstance(part, Piece)]


@pytest.fixture
def capturing(house: House) -> Capturing:
    return Capturing(house)


def test_three_workers_share_two_large_files(house: House) -> None:
    house.configure({"models": grown(house)}, {"here": local(house)})
    for _ in range(3):
        house.worker(concurrency=1)
    report = house.night()
    parts = assert_divided(report, "models", 8)
    hashed = sum(part["figures"].get("hashed_bytes", 0) for part in parts)
    root = house.folder / "originals/models"
    assert hashed == (root / "b/large.bin").stat().st_size + (root / "d.sqlite").stat().st_size
    with kinds.registered():
        (snapshot,) = house.installation.repository("models", "here").snapshots()
    assert snapshot.facts["shared"] == {"models/z link.bin": "models/b/large.bin"}
    again = house.night()
    assert again["state"] == "done", again["failures"]
    figures = again["steps"]["backup/models"]["figures"]
    assert (figures["read_bytes"], figures["new_bytes"]) == (0, 0)
    assert_restores(house, originals_of(house, "models"))
    assert_clean(house)


def test_the_item_is_that_of_one_capture(capturing: Capturing) -> None:
    divided = capturing.night()
    assert {piece.path for piece in capturing.pieces()} == {b"models/b/large.bin", b"models/d.sqlite"}
    assert len(capturing.pieces()) >= 6
    assert divided.state == "done"
    apart = capturing.items(divided)
    whole = capturing.items(capturing.night(shared=False))
    assert not capturing.division
    assert {path: item.entry for path, item in apart.items()} == {path: item.entry for path, item in whole.items()}
    assert apart[b"models/d.sqlite"].entry.cut.startswith("p")
    assert apart[b"models/b/large.bin"].entry.digest
    figures = divided.figures
    assert figures["files"] == 4
    assert figures["content_bytes"] == sum(
        path.stat().st_size for path in capturing.root.rglob("*") if path.is_file() and path.name != "z link.bin"
    )


def test_a_row_that_changes_in_a_large_database_costs_a_few_pages(capturing: Capturing) -> None:
    capturing.night()
    send(capturing.house)
    with closing(sqlite3.connect(capturing.root / "d.sqlite")) as database:
        database.execute("UPDATE rows SET data = zeroblob(700) WHERE id = 6000")
        database.commit()
    settled()
    second = capturing.night()
    assert {piece.path for piece in capturing.pieces()} == {b"models/d.sqlite"}
    assert second.figures["new_bytes"] < 100_000
    assert second.figures["unchanged"] == 3


def send(house: House) -> None:
    house.worker(queues="transfer")
    with house.app() as app:
        app.send_task("upload", kwargs={"source": "models", "destination": "here", "run": "up"}, queue="transfer")
    assert_clean(house)


def test_a_file_that_changes_between_two_pieces_is_read_again_as_it_is_then(capturing: Capturing) -> None:
    changed = capturing.root / "b/large.bin"

    def change(number: int) -> None:
        assert capturing.division
        part = capturing.division.parts[number - 1]
        if isinstance(part, Piece) and (part.path, part.end) == (b"models/b/large.bin", changed.stat().st_size):
            with changed.open("r+b") as file:
                file.write(b"another beginning")
            settled()

    outcome = capturing.night(change)
    assert (outcome.state, outcome.flaws) == ("done", ())
    found = capturing.items(outcome)[b"models/b/large.bin"].entry
    status = changed.stat()
    assert (found.size, found.version) == (status.st_size, (status.st_ctime_ns, status.st_ino))
    send(capturing.house)
    assert_restores(capturing.house, originals_of(capturing.house, "models"))


@pytest.mark.parametrize("kind", [Digest, Piece])
def test_a_file_that_vanishes_meanwhile_leaves_no_link_to_nothing(capturing: Capturing, kind: type) -> None:
    def vanish(number: int) -> None:
        assert capturing.division
        part = capturing.division.parts[number - 1]
        if isinstance(part, Digest | Piece) and isinstance(part, kind):
            (capturing.house.folder / "originals" / os.fsdecode(part.path)).unlink(missing_ok=True)

    outcome = capturing.night(vanish)
    assert {b"models/d.sqlite", b"models/b/large.bin", b"models/z link.bin"}.isdisjoint(capturing.items(outcome))
    assert outcome.state == "incomplete"
    (flaw,) = outcome.flaws
    assert "z link.bin" in flaw


def test_holes_are_not_divided(capturing: Capturing) -> None:
    for path in (capturing.root / "d.sqlite", capturing.root / "b/large.bin", capturing.root / "z link.bin"):
        path.unlink()
    with (capturing.root / "sparse.bin").open("wb") as file:
        file.write(b"x" * 5 * MB)
        file.seek(20 * MB)
        file.write(b"y" * MB)
    settled()
    outcome = capturing.night()
    assert outcome.state == "done"
    assert capturing.division
    assert not capturing.division.large
    assert capturing.items(outcome)[b"models/sparse.bin"].entry.extents

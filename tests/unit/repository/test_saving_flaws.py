"""What could not be captured as it was: named, left out or read again, and never taken for whole."""

from __future__ import annotations

import random

import pytest

from tasks.errors import BackupError
from tasks.item import Flaw, Unreadable, Vanished
from tasks.repository import Repository
from tests.memory_source import File, MemoryCapture
from tests.repositories import about, restored, save

MIB = 1 << 20


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [10, 100_000, 6 * MIB])
@pytest.mark.parametrize("way", ["shrank", "grew"])
def test_a_file_of_another_length_than_listed_is_partial_and_read_again(
    repository: Repository, size: int, way: str
) -> None:
    content = noise(1, size)
    listed = size + 5 if way == "shrank" else size - 5
    files: dict[bytes, File | bytes] = {b"a": File(content, entry={"size": listed, "version": (3, 3)}), b"b": b"b"}
    snapshot = save(repository, files, 0)
    assert [(flaw.path, flaw.what) for flaw in snapshot.flaws] == [("a", "partial")]
    assert not snapshot.complete
    assert snapshot.figures["flaws"] == 1
    assert restored(repository, snapshot) == {b"a": content, b"b": b"b"}
    assert repository.check("content").good
    capture = MemoryCapture(files)
    repository.save(capture, about(1), repository.destination)
    assert capture.opened == [b"a"]


def test_a_stream_that_says_it_is_flawed_is_read_again_next_time(repository: Repository) -> None:
    """Also where it forgot to say so in its version: a snapshot must not inherit a flaw in silence."""
    files: dict[bytes, File | bytes] = {b"a": File(b"torn", flaw="partial")}
    snapshot = save(repository, files, 0)
    assert [flaw.what for flaw in snapshot.flaws] == ["partial"]
    capture = MemoryCapture(files)
    second = repository.save(capture, about(1), repository.destination)
    assert capture.opened == [b"a"]
    assert not second.complete


FAILURES = [
    (File(b"a" * 99, refuses=Vanished("gone")), "vanished"),
    (File(b"a" * 99, refuses=Unreadable("permission denied")), "unreadable"),
    (File(b"a" * 99, fails_at=50, failure=Unreadable("input/output error")), "unreadable"),
    (File(noise(5, 5 * MIB), fails_at=4_800_000, failure=Unreadable("input/output error")), "unreadable"),
    (File(noise(6, 5 * MIB), fails_at=4_800_000, failure=Vanished("stale file handle")), "unreadable"),
]


@pytest.mark.parametrize(("file", "what"), FAILURES)
def test_what_can_not_be_read_is_left_out_and_named(repository: Repository, file: File, what: str) -> None:
    files: dict[bytes, File | bytes] = {b"a/file": b"a", b"b": file, b"c": noise(7, 200_000)}
    snapshot = save(repository, files, 0)
    assert [(flaw.path, flaw.what, flaw.allowed) for flaw in snapshot.flaws] == [("b", what, False)]
    assert snapshot.flaws[0].why
    assert not snapshot.complete
    assert restored(repository, snapshot) == {b"a/file": b"a", b"c": noise(7, 200_000)}
    assert repository.check("content").good


@pytest.mark.parametrize("fails_at", [3 * MIB, 9 * MIB, 10 * MIB - 1])
@pytest.mark.parametrize("before", [1, 100_000, 700_000, 1_300_000, 1_900_000, 2_500_000])
def test_what_was_read_before_a_failure_is_not_missing_from_another_item(
    repository: Repository, before: int, fails_at: int
) -> None:
    """The chunks of a stream that fails half-way were claimed: an equal stream right after it relies on them."""
    content = noise(8, 10 * MIB)
    files: dict[bytes, File | bytes] = {
        b"a": noise(7, before),
        b"b": File(content, fails_at=fails_at, failure=Unreadable("input/output error")),
        b"c": content,
        b"d": noise(9, 3 * MIB),
    }
    snapshot = save(repository, files, 0)
    assert restored(repository, snapshot) == {b"a": noise(7, before), b"c": content, b"d": noise(9, 3 * MIB)}
    assert repository.check("content").good


def test_allowed_flaws_leave_a_snapshot_complete_but_are_named(repository: Repository) -> None:
    files: dict[bytes, File | bytes] = {
        b"logs/a.log": File(b"a", flaw="partial"),
        b"c": File(b"c", refuses=Vanished("gone")),
        b"d": b"d",
    }
    capture = MemoryCapture(files, flaws=(Flaw(b"logs/sub", "unreadable", "permission denied"),))
    some = repository.save(capture, about(0, allow_incomplete=("logs/",)), repository.destination)
    assert {(flaw.path, flaw.what): flaw.allowed for flaw in some.flaws} == {
        ("logs/sub", "unreadable"): True,
        ("logs/a.log", "partial"): True,
        ("c", "vanished"): False,
    }
    assert not some.complete
    capture = MemoryCapture(files)
    everything = repository.save(capture, about(1, allow_incomplete=("*.log", "/c")), repository.destination)
    assert everything.complete
    assert len(everything.flaws) == 2


def test_more_flaws_than_a_snapshot_lists_are_all_counted_and_judged(repository: Repository) -> None:
    files: dict[bytes, File | bytes] = {b"tmp/%04d" % at: File(b"x", refuses=Vanished("gone")) for at in range(1500)}
    files[b"z"] = File(b"x", refuses=Unreadable("permission denied"))
    capture = MemoryCapture(files)
    snapshot = repository.save(capture, about(0, allow_incomplete=("tmp/",)), repository.destination)
    assert snapshot.figures["flaws"] == 1501
    assert not snapshot.complete
    assert "z" in {flaw.path for flaw in snapshot.flaws}, "the one that matters is among those that are listed"


@pytest.mark.parametrize("there", [[], [b"a", b"a/b", b"a-b", b"b"], [b"a"], [b"b"], [b"a/b", b"c"]])
@pytest.mark.parametrize("paths", [[b"b", b"a"], [b"a", b"a"], [b"a-b", b"a/b"], [b"a/b", b"a"], [b"a", b"c", b"b"]])
def test_items_out_of_order_are_an_error_and_leave_no_snapshot(
    repository: Repository, paths: list[bytes], there: list[bytes]
) -> None:
    class Disorderly(MemoryCapture):
        def __iter__(self):  # type: ignore[no-untyped-def]  # as the capture's
            by_path = {item.entry.path: item for item in super().__iter__()}
            return iter([by_path[path] for path in paths])

    capture = Disorderly(dict.fromkeys(paths, b"x"))
    before = [save(repository, dict.fromkeys(there, b"x"), 0)] if there else []
    with pytest.raises(BackupError, match="out of order"):
        repository.save(capture, about(1), repository.destination)
    assert repository.snapshots() == before
    assert restored(repository, save(repository, {b"a": b"1"}, 2)) == {b"a": b"1"}


def test_a_source_that_breaks_off_leaves_no_snapshot_and_what_it_stored_is_used(repository: Repository) -> None:
    class Broken(Exception):
        pass

    def before(path: bytes) -> None:
        if path == b"z":
            raise Broken

    files: dict[bytes, File | bytes] = {b"a": noise(1, 40 * MIB), b"z": b"z"}
    with pytest.raises(Broken):
        save(repository, files, 0, before=before)
    assert repository.snapshots() == []
    snapshot = save(repository, files, 1)
    assert restored(repository, snapshot) == files
    assert repository.check("content").good


def test_an_error_of_a_stream_that_is_no_flaw_ends_the_capture(repository: Repository) -> None:
    files: dict[bytes, File | bytes] = {
        b"a": File(b"a" * 100, fails_at=10, failure=BackupError("the server is gone")),
        b"b": b"b",
    }
    with pytest.raises(BackupError, match="the server is gone"):
        save(repository, files, 0)
    assert repository.snapshots() == []

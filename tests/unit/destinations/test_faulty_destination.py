"""The destination that fails on purpose: what other tests rely on when they retry, or look for damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.destinations import Destination, Listed, Local
from tasks.destinations.local import LocalSettings
from tasks.errors import BackupError, Exists, Missing, NoSpace, Unavailable
from tests.faulty_destination import Fault, Faults, FaultyDestination

EVERYTHING = Faults(unavailable=0.2, lost_reply=0.2, no_space=0.1, cut=0.2, flipped=0.2)


@pytest.fixture
def inner(tmp_path: Path) -> Destination:
    return Local(LocalSettings(path=tmp_path))


def _error(work: Callable[[], object]) -> str:
    try:
        return repr(work())
    except BackupError as error:
        return error.kind


def _night(destination: Destination) -> list[str]:
    """Each operation on many names, and how it ended."""
    ends = []
    for number in range(40):
        name = f"packs/{number:02}"
        ends.append(_error(lambda name=name: destination.put(name, name.encode())))  # type: ignore[misc]
        ends.append(_error(lambda name=name: destination.get(name)))  # type: ignore[misc]
        ends.append(_error(lambda name=name: destination.delete(name)) if number % 3 == 0 else "")  # type: ignore[misc]
        ends.append(_error(lambda: list(destination.list())))
    return ends


def test_without_faults_it_is_the_inner_destination(inner: Destination) -> None:
    faulty = FaultyDestination(inner)
    faulty.put("a/b", b"0123")
    assert faulty.get("a/b", 1, 2) == b"12"
    assert [tuple(each) for each in faulty.list("a/")] == [("a/b", 4)]
    with pytest.raises(Exists):
        faulty.put("a/b", b"")
    faulty.delete("a/b")
    with pytest.raises(Missing):
        faulty.get("a/b")
    assert faulty.happened == []
    assert faulty.operations == 6


def test_one_seed_always_gives_the_same_night_and_another_seed_another(tmp_path: Path) -> None:
    nights, faults = [], []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        faulty = FaultyDestination(Local(LocalSettings(path=tmp_path / str(number))), seed, EVERYTHING)
        nights.append(_night(faulty))
        faults.append(faulty.happened)
    assert nights[0] == nights[1] != nights[2]
    assert faults[0] == faults[1] != faults[2]
    assert {fault.what for fault in faults[0]} == set(Faults._fields)


def test_threads_meet_the_same_faults_as_one_thread(tmp_path: Path) -> None:
    met = []
    for number, threads in enumerate((1, 8)):
        (tmp_path / str(number)).mkdir()
        faulty = FaultyDestination(Local(LocalSettings(path=tmp_path / str(number))), 5, EVERYTHING)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda n: _error(lambda: faulty.put(f"packs/{n}", b"x")), range(100)))  # noqa: B023 - called at once
        met.append(sorted(faulty.happened))
    assert met[0] == met[1]
    assert len(met[0]) > 20


def test_faults_come_as_often_as_asked(inner: Destination) -> None:
    faulty = FaultyDestination(inner, 1, Faults(unavailable=0.1, lost_reply=0.3))
    for number in range(400):
        _error(lambda number=number: faulty.put(f"{number}", b""))  # type: ignore[misc]
    counted = Counter(fault.what for fault in faulty.happened)
    assert 20 < counted["unavailable"] < 65
    assert 90 < counted["lost_reply"] < 150


def test_unavailable_and_no_space_leave_nothing(inner: Destination) -> None:
    for faults, error in ((Faults(unavailable=1), Unavailable), (Faults(no_space=1), NoSpace)):
        with pytest.raises(error):
            FaultyDestination(inner, 1, faults).put("a", b"x")
        assert list(inner.list()) == []


def test_a_lost_reply_is_raised_after_the_object_is_stored_or_deleted(inner: Destination) -> None:
    faulty = FaultyDestination(inner, 1, Faults(lost_reply=1), patience=1)
    with pytest.raises(Unavailable):
        faulty.put("a", b"x")
    assert inner.get("a") == b"x"
    with pytest.raises(Exists):
        faulty.put("a", b"x")
    with pytest.raises(Unavailable):
        faulty.delete("a")
    assert list(inner.list()) == []
    with pytest.raises(Missing):
        faulty.delete("a")
    assert faulty.happened == [Fault("lost_reply", "put", "a"), Fault("lost_reply", "delete", "a")]


def test_a_cut_get_is_shorter_and_a_flipped_one_differs_in_one_bit(inner: Destination) -> None:
    content = bytes(range(256))
    inner.put("a", content)
    inner.put("empty", b"")
    cut = FaultyDestination(inner, 1, Faults(cut=1)).get("a")
    assert len(cut) < len(content)
    assert content.startswith(cut)
    flipped = FaultyDestination(inner, 1, Faults(flipped=1)).get("a")
    assert (int.from_bytes(flipped) ^ int.from_bytes(content)).bit_count() == 1
    assert len(flipped) == len(content)
    assert FaultyDestination(inner, 1, Faults(flipped=1)).get("empty") == b""
    assert inner.get("a") == content


def test_a_listing_breaks_off_with_an_error_never_in_silence(inner: Destination) -> None:
    for number in range(10):
        inner.put(f"{number}", b"")
    lengths = set()
    for seed in range(20):
        seen: list[Listed] = []
        with pytest.raises(Unavailable):
            seen.extend(FaultyDestination(inner, seed, Faults(unavailable=1)).list())
        assert seen == list(inner.list())[: len(seen)]
        lengths.add(len(seen))
    assert lengths == {0, 1, 2, 3}


def test_whoever_is_patient_gets_on(inner: Destination) -> None:
    faulty = FaultyDestination(inner, 1, Faults(unavailable=1), patience=2)
    ends = [_error(lambda: faulty.put("a", b"x")) for _ in range(5)]
    assert ends == ["Unavailable", "Unavailable", "None", "Unavailable", "Unavailable"]


def test_a_store_that_is_gone_stays_gone(inner: Destination) -> None:
    faulty = FaultyDestination(inner, gone_after=3)
    faulty.put("a", b"x")
    assert faulty.get("a") == b"x"
    assert len(list(faulty.list())) == 1
    for _ in range(10):
        for work in (
            lambda: faulty.put("b", b""),
            lambda: faulty.get("a"),
            lambda: list(faulty.list()),
            lambda: faulty.delete("a"),
        ):
            assert _error(work) == "Unavailable"
    assert inner.get("a") == b"x"

"""Index objects, snapshots, condemned lists, the marker and the keyring document, damaged in every way."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tasks.destinations.destination import OnDisk
from tasks.errors import BackupError, Damaged, NotARepository, WrongKey
from tasks.repository import Repository, open_keys
from tests.damaged.history import History, contents_of, stranger
from tests.repositories import PASSPHRASE, START, create, keys, restored, save

Change = Callable[[History, str], None]


def _altered(change: Callable[[bytearray], None]) -> Change:
    return lambda history, name: history.alter(name, change)


def _flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 0x10

    return change


def _halve(data: bytearray) -> None:
    del data[len(data) // 2 :]


def _swap(history: History, name: str) -> None:
    """With another of its kind."""
    others = [each for each in history.names(name.partition("/")[0] + "/") if each != name]
    one, other = history.destination.get(name), history.destination.get(others[0])
    history.replace(name, other)
    history.replace(others[0], one)


def _by_a_stranger(history: History, name: str) -> None:
    kind = name.partition("/")[0]
    (foreign, *_) = [each.name for each in stranger().list(kind)]
    history.replace(name, stranger().get(foreign))


def _enormous(history: History, name: str) -> None:
    """As a hostile owner of the place would have it, whom it costs nothing."""
    history.replace(name, b"")
    assert isinstance(history.destination, OnDisk)
    path = history.destination.path_of(name)
    assert path
    os.truncate(path, 1 << 42)


DAMAGES: dict[str, Change] = {
    "of four terabytes": _enormous,
    "flipped at the start": _altered(_flip(0)),
    "flipped format": _altered(_flip(3)),
    "flipped salt": _altered(_flip(20)),
    "flipped inside": _altered(_flip(60)),
    "flipped at the end": _altered(_flip(-1)),
    "halved": _altered(_halve),
    "emptied": _altered(lambda data: data.clear()),
    "with a byte appended": _altered(lambda data: data.append(0)),
    "zeroed": _altered(lambda data: data.__setitem__(slice(None), bytes(len(data)))),
    "swapped": _swap,
    "another repository's": _by_a_stranger,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_named_by_listing_and_stops_neither_restore_nor_capture(
    history: History, damage: Change
) -> None:
    name = history.names("index/")[1]
    damage(history, name)
    named = {each.name for each in history.repository.check("listing").damage}
    assert name in named
    assert all(each.startswith("index/") for each in named)
    history.assert_never_wrong()
    snapshot = history.next_night()
    assert restored(history.reopened(), snapshot) == contents_of(2)
    assert snapshot.id not in history.hurt(history.assert_never_wrong())
    before = history.names("packs/")
    with pytest.raises(Damaged):
        history.repository.plan_prune([], START, START - START)
    assert history.names("packs/") == before, "packs that a damaged index names are not thrown away as orphans"


def test_a_lost_index_names_the_snapshots_that_suffer(history: History) -> None:
    history.destination.delete(history.names("index/")[0])
    assert history.repository.check("listing").good, "nothing tells that there was one"
    report = history.assert_never_wrong()
    assert history.hurt(report)
    assert {each.name for each in report.damage} == {f"snapshots/{each}" for each in history.hurt(report)}
    snapshot = history.next_night()
    assert restored(history.reopened(), snapshot) == contents_of(2)


def test_all_of_the_index_lost_is_all_of_it_stored_again(history: History) -> None:
    for name in history.names("index/"):
        history.destination.delete(name)
    report = history.assert_never_wrong()
    assert history.hurt(report) == {snapshot.id for snapshot in history.snapshots}
    snapshot = history.next_night()
    assert restored(history.reopened(), snapshot) == contents_of(2)


@pytest.mark.parametrize("lost", [1, 2, 9])
@pytest.mark.parametrize("damage", ["lost", "flipped", "emptied"])
def test_an_index_is_made_anew_from_the_packs(history: History, damage: str, lost: int) -> None:
    for name in history.names("index/")[:lost]:
        if damage == "lost":
            history.destination.delete(name)
        else:
            history.alter(name, _flip(-3) if damage == "flipped" else lambda data: data.clear())
    repository = history.reopened()
    assert repository.rebuild_index(START) > 0
    report = history.assert_never_wrong()
    assert report.good
    for night, snapshot in enumerate(history.snapshots):
        assert restored(history.reopened(), snapshot) == contents_of(night)
    assert repository.rebuild_index(START) == 0
    history.repository.plan_prune([], START, START - START).apply()
    assert history.assert_never_wrong().good


def test_a_damaged_pack_is_left_out_when_the_index_is_made_anew(history: History) -> None:
    for name in history.names("index/"):
        history.destination.delete(name)
    broken = history.pack_of(1, "D")
    history.alter(broken, _flip(-30))
    history.reopened().rebuild_index(START)
    report = history.assert_never_wrong()
    assert history.snapshots[0].id not in history.hurt(report)
    assert history.snapshots[1].id in history.hurt(report)


@pytest.mark.parametrize("prefix", ["snapshots/", "condemned/"])
def test_a_copy_under_another_name_is_told_from_the_original(history: History, prefix: str) -> None:
    name = history.names(prefix)[0]
    again = name[:-1] + ("0" if name[-1] != "0" else "1")
    history.destination.put(again, history.destination.get(name))
    report = history.assert_never_wrong()
    assert {each.name for each in report.damage} == {again}


@pytest.mark.parametrize("night", [0, 2], ids=["old", "newest"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_snapshot_is_named_and_the_others_live_on(history: History, damage: Change, night: int) -> None:
    name = f"snapshots/{history.snapshots[night].id}"
    damage(history, name)
    report = history.repository.check("listing")
    named = {each.name for each in report.damage}
    assert name in named
    if damage is not _swap:
        assert named == {name}
    history.assert_never_wrong()
    with pytest.raises(BackupError):
        history.repository.snapshot(history.snapshots[night].id)
    assert {each.id for each in history.repository.readable_snapshots()} == {
        each.id for each in history.snapshots if f"snapshots/{each.id}" not in named
    }
    snapshot = history.next_night()
    assert restored(history.reopened(), snapshot) == contents_of(2)
    with pytest.raises(BackupError):
        history.repository.plan_prune([], START, START - START)


@pytest.mark.parametrize("name", ["Thumbs.db", "{}.sync-conflict-20261129-120000-ABCDEFG", "{}.partial"])
def test_what_others_leave_among_the_snapshots_is_in_nobodys_way(history: History, name: str) -> None:
    history.destination.put(f"snapshots/{name.format(history.snapshots[-1].id)}", b"of a desktop, or a sync tool")
    assert history.repository.snapshot_ids() == [each.id for each in history.snapshots]
    assert history.repository.check("listing").good
    history.repository.plan_prune([], START, START - START).apply()
    assert restored(history.reopened(), history.next_night()) == contents_of(2)


def test_a_lost_snapshot_takes_nothing_along(history: History) -> None:
    history.destination.delete(f"snapshots/{history.snapshots[1].id}")
    assert history.assert_never_wrong().good
    history.repository.plan_prune([], START, START - START).apply()
    history.repository.plan_prune([], START, START - START).apply()
    assert history.assert_never_wrong().good


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_list_of_condemned_packs_is_named_and_stops_every_prune(history: History, damage: Change) -> None:
    """It must not count as empty; nor may anything be deleted by what is left of it."""
    name = history.names("condemned/")[0]
    damage(history, name)
    named = {each.name for each in history.repository.check("listing").damage}
    assert name in named
    assert all(each.startswith("condemned/") for each in named)
    history.assert_never_wrong()
    with pytest.raises(BackupError, match="condemned/"):
        history.repository.plan_prune([], START, START - START)
    with pytest.raises(BackupError, match=r"delete this object|newer version"):
        history.next_night()
    for each in named:
        history.destination.delete(each)
    assert history.repository.check("content").good
    history.repository.plan_prune([], START, START - START).apply()
    assert restored(history.reopened(), history.next_night()) == contents_of(2)


MARKERS: dict[str, Callable[[bytearray], None]] = {
    "emptied": lambda data: data.clear(),
    "halved": _halve,
    "flipped at the start": _flip(0),
    "zeroed": lambda data: data.__setitem__(slice(None), bytes(len(data))),
    "a list": lambda data: data.__setitem__(slice(None), b"[]"),
    "null": lambda data: data.__setitem__(slice(None), b"null"),
    "no text": lambda data: data.__setitem__(slice(None), b"\xff\xfe"),
    "nested without end": lambda data: data.__setitem__(slice(None), b"[" * 200_000),
    "of an endless number": lambda data: data.__setitem__(slice(None), b'{"format": 1e999}'),
}


@pytest.mark.parametrize("change", MARKERS.values(), ids=MARKERS)
def test_a_damaged_marker_is_one_clear_error(history: History, change: Callable[[bytearray], None]) -> None:
    history.alter("repository", change)
    for attempt in (
        lambda: Repository.open(history.destination, keys().writer),
        lambda: create(history.destination),
        lambda: Repository.key_document(history.destination),
    ):
        with pytest.raises(Damaged, match="repository"):
            attempt()


@pytest.mark.parametrize("field", ["format", "id", "source", "keyring"])
def test_a_marker_in_which_a_name_was_damaged_is_one_clear_error(history: History, field: str) -> None:
    marker = history.destination.get("repository").replace(f'"{field}"'.encode(), f'"{field[:-1]}!"'.encode())
    history.replace("repository", marker)
    with pytest.raises(Damaged, match="repository"):
        Repository.open(history.destination, keys().writer)


@pytest.mark.parametrize("at", range(0, 200, 13))
def test_no_flipped_bit_of_the_marker_opens_it_as_something_else(history: History, at: int) -> None:
    data = bytearray(history.destination.get("repository"))
    data[at % len(data)] ^= 1
    history.replace("repository", bytes(data))
    try:
        opened = Repository.open(history.destination, keys().reader)
    except BackupError:
        return
    assert restored(opened, history.snapshots[0]) == contents_of(0)


def test_a_lost_marker_is_written_again_by_the_next_capture(history: History) -> None:
    history.destination.delete("repository")
    with pytest.raises(NotARepository):
        Repository.open(history.destination, keys().reader)
    repository = create(history.destination)
    assert history.assert_never_wrong().good
    assert [snapshot.id for snapshot in repository.snapshots()] == [snapshot.id for snapshot in history.snapshots]


def test_the_marker_of_another_source_or_keyring_is_a_wrong_key(history: History, fast_path: object) -> None:
    from tests.repositories import local, other_keys

    folder = fast_path  # a pathlib.Path
    theirs = local(folder / "other", source="models")  # type: ignore[operator]  # see above
    create(theirs, source="models")
    foreign = local(folder / "foreign")  # type: ignore[operator]  # see above
    create(foreign, other_keys())
    for other in (theirs, foreign):
        history.replace("repository", other.get("repository"))
        try:
            opened = Repository.open(history.destination, keys().reader)
        except WrongKey:
            continue
        assert opened.source == "models", "it is what it says; nothing of ours opens under its keys"
        assert opened.readable_snapshots() == []


KEY_DOCUMENTS: dict[str, Callable[[bytearray], None]] = {
    **{f"flipped at {at}": _flip(at) for at in (0, 30, 200, 420, 560, -120, -20)},
    "emptied": lambda data: data.clear(),
    "halved": _halve,
    "with a byte appended": lambda data: data.append(0x20),
    "nested without end": MARKERS["nested without end"],
    "of an endless number": MARKERS["of an endless number"],
}


@pytest.mark.parametrize("change", KEY_DOCUMENTS.values(), ids=KEY_DOCUMENTS)
def test_a_damaged_keyring_document_is_named_and_opens_no_other_key(
    history: History, change: Callable[[bytearray], None]
) -> None:
    """Without it a passphrase opens nothing: it must be noticed while another copy is to be had."""
    name = f"keys/{keys().writer.keyring}"
    history.alter(name, change)
    (found,) = history.repository.check("listing").damage
    assert found.name == name
    try:
        opened = open_keys(Repository.key_document(history.destination), passphrase=PASSPHRASE)
    except BackupError:
        return
    assert opened.seed == keys().reader.seed


def test_a_lost_keyring_document_is_named_and_put_back_by_the_next_capture(history: History) -> None:
    name = f"keys/{keys().writer.keyring}"
    history.destination.delete(name)
    (found,) = history.repository.check("listing").damage
    assert found.name == name
    with pytest.raises(Damaged, match="missing"):
        Repository.key_document(history.destination)
    save(create(history.destination), {b"a": b"a"}, 11)
    assert history.repository.check("listing").good
    assert open_keys(Repository.key_document(history.destination), passphrase=PASSPHRASE) == keys().reader


def test_the_keyring_document_of_another_installation_is_named(history: History) -> None:
    from tests.repositories import other_keys

    history.replace(f"keys/{keys().writer.keyring}", other_keys().document)
    (found,) = history.repository.check("listing").damage
    assert found.name == f"keys/{keys().writer.keyring}"

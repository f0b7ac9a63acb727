"""What a stolen backup worker can do, and can't: it writes and lists; it reads no content and forges no proof."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import msgpack
import pytest

from tasks.destinations import Destination
from tasks.errors import BackupError, NotARepository, Refused, WrongKey
from tasks.item import SYMLINK, Vanished
from tasks.repository import Proof, Repository, WriterKey, is_proven, last_good
from tasks.repository.blocks import Blocks
from tasks.repository.sealing import seal
from tests.memory_source import File, MemoryCapture, MemorySink, tree
from tests.repositories import START, about, create, keys, local, other_keys, restored, save

MARK = "GEOMETRA-MARK"
"""In every text below, in upper case only: hexadecimal and base64 of a sealed object hold no such run by chance."""

SECRETS = tree(
    {
        b"GEOMETRA-MARK-folder/GEOMETRA-MARK-name": b"GEOMETRA-MARK in a small file",
        b"GEOMETRA-MARK.log": b"GEOMETRA-MARK repeated\n" * 50_000,
        b"noise": b"GEOMETRA-MARK".join(random.Random(at).randbytes(5000) for at in range(200)),
    }
) | {
    b"link": File(entry={"type": SYMLINK, "link": b"GEOMETRA-MARK-target"}),
    b"owned": File(b"x", entry={"user": "GEOMETRA-MARK-user", "xattrs": ((b"user.GEOMETRA-MARK", b"GEOMETRA-MARK"),)}),
}


@pytest.fixture
def stolen(repository: Repository) -> Repository:
    """A repository with a night in it, as one sees it who has stolen a worker's key."""
    save(repository, SECRETS, 0)
    return Repository.open(repository.destination, WriterKey.from_text(keys().writer.to_text()))


def test_nothing_that_is_stored_shows_a_name_or_a_byte_of_content(repository: Repository) -> None:
    snapshot = save(Repository.open(repository.destination, keys().writer), SECRETS, 0, into=None)
    save(repository, {**SECRETS, b"more": b"GEOMETRA-MARK"}, 1)
    repository.save(_flawed(), about(2, host=f"{MARK}-host", roots={"a": f"/srv/{MARK}"}), repository.destination)
    repository.prove(Proof(snapshot.id, "verify", START, good=False, findings=(f"{MARK} is damaged",)))
    repository.plan_prune([snapshot.id], START, timedelta(0)).apply()
    seen = 0
    for listed in repository.destination.list():
        data = repository.destination.get(listed.name)
        assert MARK.encode() not in data, listed.name
        assert MARK not in listed.name
        for secret in (keys().writer.secret, keys().reader.seed):
            assert secret not in data
            assert secret.hex().encode() not in data
        seen += 1
    assert seen > 8


def _flawed() -> MemoryCapture:
    return MemoryCapture({b"GEOMETRA-MARK-gone": File(b"x", refuses=Vanished("gone"))})


def test_a_writer_lists_everything_and_reads_no_content(stolen: Repository) -> None:
    (snapshot,) = stolen.snapshots()
    items = stolen.read(snapshot)
    listed = list(items)
    assert [item.entry.path for item in listed] == sorted(SECRETS, key=lambda path: path.split(b"/"))
    for item in listed:
        if not item.content:
            continue
        sink = MemorySink()
        with pytest.raises(Refused):
            items.extract([item], sink)
        assert sink.contents == {}
        with pytest.raises(Refused):
            items.open(item).readinto(memoryview(bytearray(10)))


def test_a_writer_can_not_read_even_what_it_has_just_written(repository: Repository) -> None:
    writing = Repository.open(repository.destination, keys().writer)
    snapshot = save(writing, {b"a": b"secret" * 100}, 0)
    with pytest.raises(Refused):
        restored(writing, snapshot)
    assert restored(repository, snapshot) == {b"a": b"secret" * 100}


def test_a_writer_verifies_no_content_and_proves_nothing(stolen: Repository) -> None:
    assert stolen.check("items").good
    with pytest.raises(Refused):
        stolen.check("content")
    with pytest.raises(Refused):
        stolen.prove(Proof(stolen.snapshot_ids()[0], "verify", START, good=True))
    with pytest.raises(Refused):
        stolen.rebuild_index(START)
    assert stolen.proofs() == {}


def proof_name(destination: Destination) -> str:
    (name,) = (listed.name for listed in destination.list("proofs/"))
    return name


def forge(stolen: Repository, name: str, proof: dict[str, object], signature: bytes) -> None:
    """A proof sealed as it must be, for which the metadata key is enough, with some signature."""
    text = json.dumps(proof).encode()
    stolen.destination.put(name, seal(stolen.keys.metadata, name, msgpack.packb([text, signature])))


def test_a_forged_proof_proves_nothing(stolen: Repository) -> None:
    snapshot = stolen.snapshot_ids()[0]
    proof: dict[str, object] = {
        "snapshot": snapshot,
        "verb": "verify",
        "when": START.isoformat(),
        "good": True,
        "depth": "content",
        "findings": [],
        "figures": {},
    }
    name = f"proofs/{snapshot}/20261101T020000Z-verify-00000000"
    text = json.dumps(proof).encode()
    for at, signature in enumerate(
        [b"", bytes(64), other_keys().reader.sign(name, text), keys().reader.sign("proofs/another", text), "text", None]
    ):
        forge(stolen, f"{name[:-1]}{at}", proof, signature)  # type: ignore[arg-type]  # whatever a stranger puts there
    for at, payload in enumerate(
        [
            b"",
            b"\x01",
            b"\xc1",
            b"\x92\x01\x02",
            msgpack.packb([b"[]", b""]),
            b"\x93\0\0\0",
            msgpack.packb([b"[" * 200_000, b""]),
        ]
    ):
        other = f"proofs/{snapshot}/20261101T020000Z-verify-1000000{at}"
        stolen.destination.put(other, seal(stolen.keys.metadata, other, payload))
    stolen.destination.put(f"proofs/{snapshot}/20261101T020000Z-verify-20000000", b"no sealed object at all")
    assert stolen.proofs() == {}


@pytest.mark.parametrize("moved", ["to another snapshot", "to another time", "to another verb"])
def test_a_true_proof_is_not_true_elsewhere(repository: Repository, moved: str) -> None:
    first, second = save(repository, {b"a": b"a"}, 0), save(repository, {b"a": b"b"}, 1)
    repository.prove(Proof(first.id, "verify", START, good=True, depth="content", figures={"chunks": 3.0}))
    name = proof_name(repository.destination)
    assert repository.proofs() == {
        first.id: [Proof(first.id, "verify", START, good=True, depth="content", figures={"chunks": 3.0})]
    }
    other = {
        "to another snapshot": name.replace(first.id, second.id),
        "to another time": name.replace("20261101T020000Z-verify", "20271101T020000Z-verify"),
        "to another verb": name.replace("-verify-", "-drill-"),
    }[moved]
    from tasks.repository.sealing import unseal

    payload = unseal(repository.keys.metadata, name, repository.destination.get(name))
    repository.destination.put(other, repository.destination.get(name))
    assert list(repository.proofs()) == [first.id]
    assert len(repository.proofs()[first.id]) == 1
    repository.destination.delete(other)
    # A writer's key seals it anew under the other name; the signature is bound to the old one.
    repository.destination.put(other, seal(repository.keys.metadata, other, payload))
    assert {snapshot: len(found) for snapshot, found in repository.proofs().items()} == {first.id: 1}


def test_proofs_come_back_oldest_first(repository: Repository) -> None:
    snapshot = save(repository, {b"a": b"a"}, 0)
    proofs = [
        Proof(snapshot.id, verb, START + timedelta(days=day), good=bool(day % 2), findings=("one", "two"))
        for day, verb in enumerate(["verify", "drill", "verify"])
    ]
    for proof in reversed(proofs):
        repository.prove(proof)
    assert repository.proofs() == {snapshot.id: proofs}
    assert repository.proofs("drill") == {snapshot.id: proofs[1:2]}
    assert last_good(repository.proofs(), "drill", START + timedelta(days=9)) == START + timedelta(days=1)
    assert last_good(repository.proofs(), "verify", START) is None


@pytest.mark.parametrize(
    ("found", "proven"),
    [
        ("", False),
        ("v+", True),
        ("v+ v-", False),
        ("v- v+", True),
        ("v+ d-", False),
        ("v+ d- v+", False),  # that every byte can be read again does not undo a drill
        ("v+ d- v+ d+", True),
        ("d+", True),
        ("d+ v-", False),
    ],
)
def test_a_snapshot_is_proven_while_the_last_word_of_each_verb_is_good(found: str, proven: bool) -> None:
    verbs = {"v": "verify", "d": "drill"}
    proofs = [Proof("one", verbs[each[0]], START, good=each[1] == "+") for each in found.split()]
    assert is_proven(proofs) is proven


def test_a_good_proof_that_a_wrong_clock_dated_ahead_hides_nothing_that_was_found_since(repository: Repository) -> None:
    """What the clock said of one that is bad is no reason to believe an older one that is good."""
    snapshot = save(repository, {b"a": b"a"}, 0)
    repository.clock = lambda: START + timedelta(days=9)

    def proof(days: int, *, good: bool) -> Proof:
        return Proof(snapshot.id, "verify", START + timedelta(days=days), good)

    ahead, good, bad = proof(3650, good=True), proof(1, good=True), proof(2, good=False)
    for each in (good, ahead):
        repository.prove(each)
    assert repository.proofs() == {snapshot.id: [ahead, good]}
    repository.prove(bad)
    assert repository.proofs() == {snapshot.id: [good, bad]}


def test_a_proof_that_a_wrong_clock_dated_ahead_gives_way_to_the_next_one(repository: Repository) -> None:
    """A bad one would else count until its day comes, whatever was mended since, and a good one from then on."""
    snapshot = save(repository, {b"a": b"a"}, 0)
    repository.clock = lambda: START + timedelta(days=9)

    def proof(days: float, *, good: bool) -> Proof:
        return Proof(snapshot.id, "verify", START + timedelta(days=days), good)

    bad, bad_ahead, soon = proof(2, good=False), proof(3651, good=False), proof(9.5, good=False)
    for each in (bad, soon, bad_ahead):
        repository.prove(each)
    assert repository.proofs() == {snapshot.id: [bad, soon, bad_ahead]}
    mended = proof(9, good=True)
    repository.prove(mended)
    assert repository.proofs() == {snapshot.id: [bad, mended, soon]}, "clocks may differ by less than a day"


def test_a_proof_of_another_source_is_none(fast_path: Path) -> None:
    docs, models = create(local(fast_path)), create(local(fast_path, source="models"), source="models")
    first = save(docs, {b"a": b"a"}, 0)
    save(models, {b"a": b"a"}, 0)
    docs.prove(Proof(first.id, "verify", START, good=True))
    name = proof_name(docs.destination)
    models.destination.put(name, docs.destination.get(name))
    assert models.proofs() == {}


def test_a_block_of_content_can_not_be_passed_off_as_a_list(stolen: Repository) -> None:
    """Lists and contents have names of their own, so no content chunk is ever looked for in a list pack."""
    (snapshot,) = stolen.snapshots()
    index = stolen.whole_index()
    blocks = Blocks(stolen.destination, index, stolen.keys)
    for item in stolen.read(snapshot):
        for at in range(0, len(item.content) if not item.level else 0, 16):
            with pytest.raises(Refused):
                blocks.chunk(item.content[at : at + 16], "content")


def test_two_keyrings_at_one_place_are_told_apart(repository: Repository) -> None:
    stranger = other_keys()
    with pytest.raises(WrongKey):
        Repository.open(repository.destination, stranger.reader)
    before = [listed.name for listed in repository.destination.list()]
    with pytest.raises(WrongKey):
        Repository.create_or_open(repository.destination, "docs", stranger.writer, stranger.document)
    assert [listed.name for listed in repository.destination.list()] == before, "nothing was left there"


def test_an_empty_place_is_no_repository(fast_path: Path) -> None:
    with pytest.raises(NotARepository):
        Repository.open(local(fast_path), keys().writer)
    with pytest.raises(NotARepository):
        Repository.key_document(local(fast_path))


def test_a_newer_repository_is_refused(repository: Repository) -> None:
    marker = json.loads(repository.destination.get("repository"))
    repository.destination.delete("repository")
    repository.destination.put("repository", json.dumps({**marker, "format": 2}).encode())
    with pytest.raises(BackupError, match="upgrade"):
        Repository.open(repository.destination, keys().writer)
    with pytest.raises(BackupError, match="upgrade"):
        create(repository.destination)


def test_the_place_and_the_passphrase_are_all_that_a_restore_needs(repository: Repository) -> None:
    from tasks.repository import open_keys
    from tests.repositories import PASSPHRASE

    save(repository, SECRETS, 0)
    document = Repository.key_document(repository.destination)
    for opening in ({"passphrase": PASSPHRASE}, {"sheet": keys().sheet}):
        again = Repository.open(repository.destination, open_keys(document, **opening))
        (snapshot,) = again.snapshots()
        assert restored(again, snapshot)[b"GEOMETRA-MARK.log"] == SECRETS[b"GEOMETRA-MARK.log"]

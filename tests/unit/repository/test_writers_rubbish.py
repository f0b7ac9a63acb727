"""What a stolen backup worker can put there, and what that comes to: no good byte is let go or hidden for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.errors import Damaged
from tasks.item import Stored
from tasks.repository import Proof, Repository, Snapshot, WriterKey, snapshot_id
from tasks.repository.block import Draft, Profile
from tasks.repository.buffers import Buffers
from tasks.repository.compression import RAW, STRONG
from tasks.repository.index import encode
from tasks.repository.naming import Naming
from tasks.repository.pack import CONTENT, LISTS, NAME, BlockList, Encoded, PackWriter, SealedPack, object_name
from tasks.repository.packing import Packing, scratch_folder
from tasks.repository.records import Grouper
from tasks.repository.sealing import seal
from tests.memory_source import File
from tests.repositories import SOURCE, START, about, keys, packs, restored, save
from tests.unit.repository.pruned import DAY, GRACE, condemned, noise, prune

CONTENTS = {b"log": b"of a log\n" * 50_000, b"noise": noise(1, 300_000), b"small": b"of a small file"}


@pytest.fixture
def stolen(repository: Repository) -> Repository:
    """A repository with a night in it, as one sees it who has stolen a worker's key."""
    save(repository, CONTENTS, 0)
    return Repository.open(repository.destination, WriterKey.from_text(keys().writer.to_text()))


def test_rubbish_under_the_names_of_good_chunks_takes_no_good_pack_away(stolen: Repository) -> None:
    """Found first, it makes the good ones look needless; they are proven, and a prune reads what is to replace them."""
    repository = Repository.open(stolen.destination, keys().reader)
    (snapshot,) = stolen.snapshots()
    good = packs(repository)
    _pass_off_rubbish(stolen)
    prune(repository, now=START + DAY)
    assert condemned(repository), "nothing has told yet"
    with pytest.raises(Damaged, match=r"what is to take the place.*verify --everything"):
        prune(repository, now=START + DAY + GRACE)
    assert set(good) <= set(packs(repository))
    for days in (2, 3):
        prune(repository, now=START + days * (DAY + GRACE))
    assert packs(repository) == good
    assert condemned(repository) == []
    assert restored(repository, snapshot) == CONTENTS
    assert repository.check("content").good


def _pass_off_rubbish(stolen: Repository) -> None:
    """Packs that open, with the names of all content and none of its bytes, and an index of them that is read first."""
    content = [pack for _, indexed in stolen.index_objects() for pack in indexed if pack.kind == CONTENT]
    put = [_rubbish_for(stolen, pack) for pack in content]
    name = f"index/{0:032x}"
    stolen.destination.put(name, seal(stolen.keys.metadata, name, encode(put)))


def _rubbish_for(stolen: Repository, pack: SealedPack) -> SealedPack:
    with scratch_folder(None) as scratch:
        writer, at = PackWriter(scratch / "pack", CONTENT, stolen.keys), 0
        for block in pack.listed.located(CONTENT):
            until = at + block.chunks
            names, lengths = bytes(pack.listed.names[at * NAME : until * NAME]), pack.listed.lengths[at:until]
            writer.append(Encoded(RAW, bytes(block.raw), block.raw, names, lengths))
            at = until
        sealed = writer.close()
        stolen.destination.put(object_name(sealed.name), writer.path)
    return sealed


def test_a_proof_of_one_snapshot_does_not_count_for_another_that_says_it_were_that(stolen: Repository) -> None:
    """Newer, and proven, it would let all go that is."""
    (snapshot,) = stolen.snapshots()
    later = START + timedelta(days=5)
    name = f"snapshots/{snapshot_id(SOURCE, 'forged', later)}"
    forged = replace(snapshot, started=later, finished=later, level=0, content="")
    stolen.destination.put(name, seal(stolen.keys.metadata, name, forged.to_bytes()))
    assert stolen.readable_snapshots() == [snapshot]
    with pytest.raises(Damaged, match=f"{name}.*{snapshot.id}"):
        stolen.snapshots()


@pytest.mark.parametrize("kind", [CONTENT, LISTS])
def test_an_index_that_lies_about_a_good_pack_is_named(stolen: Repository, kind: str) -> None:
    """Read first, it hides all that lies there; nothing is lost, and without it all is found again."""
    repository = Repository.open(stolen.destination, keys().reader)
    (snapshot,) = stolen.snapshots()
    content = [pack for _, indexed in stolen.index_objects() for pack in indexed if pack.kind == kind]
    lies = [pack._replace(listed=_of_others(pack.listed)) for pack in content]
    name = f"index/{0:032x}"
    stolen.destination.put(name, seal(stolen.keys.metadata, name, encode(lies)))
    with pytest.raises(Damaged):
        restored(repository, snapshot)
    (found,) = repository.check("content").damage
    assert found.name == name
    assert found.what.endswith("delete this object, or nothing of that pack is found")
    with pytest.raises(Damaged):
        repository.plan_prune([], START, GRACE)
    repository.destination.delete(name)
    assert repository.check("content").good
    assert restored(repository, snapshot) == CONTENTS


def _of_others(listed: BlockList) -> BlockList:
    """As many chunks, of other names."""
    return BlockList(listed.blocks, bytearray(byte ^ 1 for byte in listed.names), listed.lengths)


def test_what_a_forged_snapshot_says_of_a_file_is_not_what_later_nights_hold(repository: Repository) -> None:
    """Its files are unchanged, its chunks are good and proven: they are only those of another file."""
    files = {name: File(text, entry={"version": (1, 1)}) for name, text in ((b"a", b"of a"), (b"b", b"of b"))}
    first = save(repository, files, 0)
    repository.prove(Proof(first.id, "verify", START, good=False))
    stolen = Repository.open(repository.destination, keys().writer)
    one, other = stolen.read(first)
    _forge(stolen, first, (one._replace(content=other.content), other))
    second = save(stolen, {**files, b"c": b"new"}, 2)
    assert restored(repository, second) == {b"a": b"of a", b"b": b"of b", b"c": b"new"}
    assert second.figures["unchanged"] == 2


MEANINGLESS: dict[str, Callable[[Stored], Stored]] = {
    "a level that nothing has": lambda item: item._replace(level=-1, content=bytes(NAME)),
    "a path that is no bytes": lambda item: item._replace(entry=item.entry._replace(path="a")),  # type: ignore[arg-type]
    "a list of chunks that is no bytes": lambda item: item._replace(content=7),  # type: ignore[arg-type]
    "extents that are none": lambda item: item._replace(entry=item.entry._replace(extents=7)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("change", MEANINGLESS.values(), ids=MEANINGLESS)
def test_a_forged_item_that_makes_no_sense_is_named_and_stops_no_capture(
    repository: Repository, change: Callable[[Stored], Stored]
) -> None:
    """Proven, it would have made room for good snapshots; and all later captures go by what was looked at last."""
    first = save(repository, CONTENTS, 0)
    stolen = Repository.open(repository.destination, keys().writer)
    one, *others = stolen.read(first)
    _forge(stolen, first, (change(one), *others))
    assert [damage.name for damage in repository.check("content").damage] == [f"snapshots/{about(1).id}"]
    repository.prove(Proof(about(1).id, "verify", START + DAY, good=False))
    assert restored(repository, save(stolen, CONTENTS, 2)) == CONTENTS


def _forge(stolen: Repository, snapshot: Snapshot, items: Iterable[Stored]) -> None:
    """One of the next night that holds these."""
    into, naming, buffers = stolen.destination, Naming(stolen.keys.listing), Buffers(1)
    draft = Draft(LISTS, Profile(STRONG), buffers)

    def keep(chunk: bytes) -> bytes:
        draft.add(name := naming.name(chunk), chunk)
        return name

    with scratch_folder(None) as scratch, Packing(into, scratch, stolen.keys, buffers) as packing:
        grouper = Grouper(keep)
        for item in items:
            grouper.add(item)
        level, content = grouper.finish()
        packing.submit(draft.take())
        packing.finish()
    forged = replace(
        snapshot, id=about(1).id, started=START + DAY, finished=START + DAY, level=level, content=content.hex()
    )
    name = f"snapshots/{forged.id}"
    into.put(name, seal(stolen.keys.metadata, name, forged.to_bytes()))

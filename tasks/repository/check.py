"""Looking for damage: what is listed, what it refers to, and, with the private key, every stored byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, NamedTuple

from blake3 import blake3

from tasks.destinations.destination import Destination, OnDisk
from tasks.errors import Damaged, Missing, NewerFormat, NotFound, Unavailable
from tasks.repository import compression
from tasks.repository import index as indexes
from tasks.repository.blocks import Blocks
from tasks.repository.condemned import Doubts, doubts, sentence, sentence_names
from tasks.repository.cores import cores
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory
from tasks.repository.locks import needed_indexes
from tasks.repository.naming import Naming
from tasks.repository.pack import (
    LISTS,
    LONGEST_HEADER,
    NAME,
    TRAILER,
    BlockList,
    PackCipher,
    SealedPack,
    footer_of,
    footer_reach,
    object_name,
)
from tasks.repository.references import References
from tasks.repository.sealing import unseal
from tasks.repository.snapshot import Snapshot

Depth = Literal["listing", "items", "content"]

_TRIES, _MOST_FINDINGS = 5, 10


@dataclass(frozen=True, slots=True)
class Damage:
    """`name`: the stored object that is damaged, or the snapshot that suffers; `what`: one line for a person."""

    name: str
    what: str


class Described(NamedTuple):
    """A pack as an index names it; `digest` stands for its block list, which takes far more memory."""

    name: bytes
    kind: str
    size: int
    digest: bytes

    @classmethod
    def of(cls, pack: SealedPack) -> Described:
        hasher = blake3()
        for part in pack.listed.to_parts():
            hasher.update(len(part).to_bytes(8, "little")).update(part)
        return cls(pack.name, pack.kind, pack.size, hasher.digest())


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose packs' contents are read: those that one snapshot's run made, and one part `of` as many of all others."""

    snapshot: Snapshot
    part: int = 0
    of: int = 0

    def choose(self, packs: Iterable[Described]) -> list[Described]:
        made = {bytes.fromhex(name) for name in self.snapshot.packs}
        return [pack for pack in packs if pack.name in made or self._has_turn(pack.name)]

    def _has_turn(self, pack: bytes) -> bool:
        return bool(self.of) and int.from_bytes(pack[:4], "big") % self.of == self.part


class PacksRead(NamedTuple):
    """What reading packs whole came to: what is wrong with which."""

    packs: int = 0
    size: int = 0
    chunks: int = 0
    damaged: tuple[tuple[bytes, str], ...] = ()

    def with_(self, other: PacksRead) -> PacksRead:
        return PacksRead(
            self.packs + other.packs,
            self.size + other.size,
            self.chunks + other.chunks,
            (*self.damaged, *other.damaged),
        )


Reading = Callable[[list[Described]], PacksRead]
"""Has packs read whole, and checked against what an index says of them."""


@dataclass(slots=True)
class CheckReport:
    """`figures`: `snapshots`, `packs`, `orphan_packs`, and at depth *content* `read_packs`, `read_bytes`, `chunks`.
    `damaged_packs` are all that must not be relied on; those that are condemned and that no snapshot needs any more are
    not among the `damage`: a prune deletes them."""

    damage: list[Damage] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    damaged_packs: set[bytes] = field(default_factory=set)

    @property
    def good(self) -> bool:
        return not self.damage

    def find(self, name: str, what: str) -> None:
        self.damage.append(Damage(name, what))

    def find_pack(self, pack: bytes, what: str) -> None:
        self.find(object_name(pack), what)
        self.damaged_packs.add(pack)


def check(
    repository: Inventory,
    depth: Depth = "items",
    scope: Scope | None = None,
    progress: Callable[[dict[str, float]], None] | None = None,
    *,
    reading: Reading | None = None,
) -> CheckReport:
    """*listing*: every object that something names is there, at its size, and opens. *items*: and every chunk that a
    snapshot refers to is in an indexed pack, every item list reads. *content*: and every block of every pack (in
    `scope`, if one is given) opens, decodes, and holds the chunks it should. Beside a damaged object every snapshot
    that suffers is named. Packs are read here, or wherever `reading` has them read. Only what makes the check itself
    impossible is raised: `Unavailable`, `Refused`,
    `WrongKey`."""
    report = CheckReport()
    _check_keyring(repository, report)
    # Snapshots first: whatever one that is seen relies on is seen too.
    snapshots = _check_snapshots(repository, report)
    known = _check_condemned(repository, report)
    packs = _check_index(repository, report)
    sizes = repository.listed_packs()
    if repository.locks():
        # An index object that is locked outlives the packs that it names, once others have taken its place.
        objects: dict[str, list[SealedPack]] = {}
        for pack, origin in packs:
            objects.setdefault(origin, []).append(pack)
        needed = needed_indexes(objects, sizes)
        packs = [(pack, origin) for pack, origin in packs if origin in needed or pack.name in sizes]

    def rank(at: int) -> int:
        pack, _ = packs[at]
        return known.rank(pack.name, there=sizes.get(pack.name) == pack.size)

    index, described = Index(), dict[bytes, Described]()
    for at in sorted(range(len(packs)), key=rank):
        pack, origin = packs[at]
        index.add(pack, origin)
        described[pack.name] = Described.of(pack)
        # The index holds what it lists from now on: once is enough.
        packs[at] = pack._replace(listed=BlockList()), origin
    _check_listing(repository, index, sizes, report)
    orphans = sum(pack not in index for pack in sizes)
    report.figures |= {"snapshots": len(snapshots), "packs": len(index.packs), "orphan_packs": orphans}
    if depth == "listing":
        return report
    blocks = Blocks(repository.destination, index, repository.keys)
    references = References(blocks).follow(snapshots)
    for name in references.damaged - report.damaged_packs:
        report.find_pack(name, "holds item lists that can't be read")
    if depth == "content":
        repository.writer.as_reader()
        whole = [pack for name, pack in described.items() if name not in report.damaged_packs]
        chosen = scope.choose(whole) if scope else whole
        read = reading(chosen) if reading else read_packs(repository, chosen, progress)
        for name, what in read.damaged:
            report.find_pack(name, what)
        report.figures |= {"read_packs": read.packs, "read_bytes": read.size, "chunks": read.chunks}
    if references.findings or report.damaged_packs:
        _name_the_suffering(snapshots, blocks, known.condemned | known.damaged, report)
    return report


def _check_keyring(repository: Inventory, report: CheckReport) -> None:
    try:
        repository.check_key_document()
    except (Damaged, NewerFormat) as error:
        report.find(f"keys/{repository.writer.keyring}", str(error))


def _check_condemned(repository: Inventory, report: CheckReport) -> Doubts:
    for name in sentence_names(repository.destination):
        try:
            sentence(repository.destination, repository.keys, name)
        except Missing:
            continue  # lifted by a prune since it was listed
        except (Damaged, NewerFormat) as error:
            report.find(name, str(error))
    return doubts(repository.destination, repository.keys, strict=False)


def _check_index(repository: Inventory, report: CheckReport) -> list[tuple[SealedPack, str]]:
    for _ in range(_TRIES):
        packs, damage = [], []
        try:
            for name in repository.index_names():
                try:
                    payload = unseal(repository.keys.metadata, name, repository.destination.get(name))
                    packs += [(pack, name) for pack in indexes.decode(name, payload)]
                except (Damaged, NewerFormat) as error:
                    damage.append(Damage(name, str(error)))
        except Missing:
            # A prune has put this object's packs into another one meanwhile.
            continue
        report.damage += damage
        return packs
    raise Unavailable(f"the index of `{repository.source}` changes faster than it can be read: is a prune in a loop?")


def _check_listing(repository: Inventory, index: Index, sizes: Mapping[bytes, int], report: CheckReport) -> None:
    """Whether all indexed packs are there."""
    wrong = {pack.name: sizes.get(pack.name) for pack in index.packs if sizes.get(pack.name) != pack.size}
    if wrong:
        # A prune may have deleted them since the index was read, and dropped them from it before.
        wrong = {
            pack.name: wrong[pack.name] for pack, _ in _check_index(repository, CheckReport()) if pack.name in wrong
        }
    for name, size in wrong.items():
        if size is None:
            report.find_pack(name, "is missing: an index names it, and it is not there")
        else:
            report.find_pack(name, f"has {size} bytes instead of {index.pack(name).size}")


def _check_snapshots(repository: Inventory, report: CheckReport) -> list[Snapshot]:
    found = []
    for snapshot_id in repository.snapshot_ids():
        try:
            found.append(repository.snapshot(snapshot_id))
        except NotFound:
            continue  # forgotten by a prune since it was listed
        except (Damaged, NewerFormat) as error:
            report.find(f"snapshots/{snapshot_id}", str(error))
    return found


def _name_the_suffering(
    snapshots: list[Snapshot], blocks: Blocks, doubtful: frozenset[bytes], report: CheckReport
) -> None:
    """One snapshot after the other, which is slow: only where something was found at all."""
    index, needed = blocks.index, set()
    for snapshot in snapshots:
        references = References(blocks).follow([snapshot])
        used = index.used_bytes(references.used)
        lost = {pack.name for pack, count in zip(index.packs, used, strict=True) if count} & report.damaged_packs
        needed |= lost
        findings = list(dict.fromkeys(references.findings.get(snapshot.id, [])))
        findings += [f"relies on `{object_name(pack)}`, which is damaged" for pack in sorted(lost)]
        if findings:
            report.find(f"snapshots/{snapshot.id}", "; ".join(findings[:_MOST_FINDINGS]))
    over = (report.damaged_packs & doubtful) - needed
    report.damage = [each for each in report.damage if each.name not in set(map(object_name, over))]


def read_packs(
    repository: Inventory, packs: Iterable[Described], progress: Callable[[dict[str, float]], None] | None = None
) -> PacksRead:
    """Read packs whole and check all of them, several at once. Needs the private key."""
    listed = list(packs)
    total, done, chunks, damaged = sum(pack.size for pack in listed), 0, 0, list[tuple[bytes, str]]()
    threads = cores()
    with ThreadPoolExecutor(threads, "checking") as pool:
        running: deque[tuple[Described, Future[int]]] = deque()
        waiting = deque(listed)
        while waiting or running:
            while waiting and len(running) <= threads:
                pack = waiting.popleft()
                running.append((pack, pool.submit(check_pack, repository, pack)))
            pack, future = running.popleft()
            try:
                chunks += future.result()
            except (Damaged, Missing, NewerFormat) as error:
                damaged.append((pack.name, str(error)))
            done += pack.size
            if progress:
                progress({"done_bytes": done, "total_bytes": total, "items": chunks})
    return PacksRead(len(listed), done, chunks, tuple(damaged))


def check_pack(repository: Inventory, pack: Described) -> int:
    """Read a pack whole and check all of it against its index. Returns the chunks. Raises `Damaged`, `Missing`."""
    name = object_name(pack.name)
    read = _reader(repository.destination, name)
    cipher = PackCipher(pack.name, bytes(read(0, LONGEST_HEADER)), repository.keys)
    reach = min(footer_reach(read(pack.size - TRAILER, TRAILER)), pack.size)
    listed = cipher.open_footer(pack.name, footer_of(pack.name, read(pack.size - reach, reach)))
    if Described.of(SealedPack(pack.name, cipher.kind, pack.size, listed)) != pack:
        raise Damaged(f"`{name}`: its footer and its index disagree")
    naming = Naming(repository.keys.listing if pack.kind == LISTS else repository.keys.naming)
    at = 0
    for number, block in enumerate(listed.located(pack.kind)):
        sealed = read(block.offset, block.stored)
        try:
            plain = compression.decode(block.method, cipher.open(number, block.method, sealed), block.raw)
        except ValueError as error:
            raise Damaged(f"`{name}`: block {number} does not decode: {error}") from error
        until = at + block.chunks
        names = naming.names(plain, accumulate(listed.lengths[at:until]))
        if b"".join(names) != listed.names[at * NAME : until * NAME]:
            raise Damaged(f"`{name}`: block {number} holds a chunk that is not what was stored")
        at = until
    return at


def _reader(destination: Destination, name: str) -> Callable[[int, int], memoryview]:
    """Bytes of an object by offset and length: of a file range by range, which takes less memory; of what is far away
    out of one read."""
    if isinstance(destination, OnDisk) and destination.path_of(name):
        return lambda offset, length: memoryview(destination.get(name, offset, length))
    data = memoryview(destination.get(name))
    return lambda offset, length: data[offset : offset + length]

"""Looking for damage: what is listed, what it refers to, and, with the private key, every stored byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tasks.errors import BackupError, Damaged, Missing, NewerFormat, NotFound
from tasks.repository.blocks import Blocks
from tasks.repository.condemned import Doubts, doubts, sentence, sentence_names
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory
from tasks.repository.locks import needed_indexes
from tasks.repository.lying_indexes import lying_indexes
from tasks.repository.pack import SealedPack, object_name
from tasks.repository.pack_check import Described, PacksRead, read_packs
from tasks.repository.references import References
from tasks.repository.snapshot import Snapshot
from tasks.repository.stored_index import settled

Depth = Literal["listing", "items", "content"]

_MOST_FINDINGS = 10


@dataclass(frozen=True, slots=True)
class Damage:
    """`name`: the stored object that is damaged, or the snapshot that suffers; `what`: one line for a person."""

    name: str
    what: str


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


Reading = Callable[[list[Described]], PacksRead]
"""Has packs read whole, and checked against what an index says of them."""


@dataclass(slots=True)
class CheckReport:
    """`figures`: `snapshots`, `packs`, `orphan_packs`, and at depth *content* `read_packs`, `read_bytes`, `chunks`.
    `damaged_packs` are all that must not be relied on; those that are condemned, or gone, and that no snapshot needs
    any more are not among the `damage`: a prune deletes them, or did while another one named them anew. Nor is a
    damaged index object of whose packs others say all."""

    damage: list[Damage] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    damaged_packs: set[bytes] = field(default_factory=set)
    lacks_index: bool = False
    """Whether there may be packs that are needed and that no index object which can be read names."""

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
    impossible is raised: `Unavailable`, `Refused`, `WrongKey`."""
    report = CheckReport()
    _check_keyring(repository, report)
    # Snapshots first: whatever one that is seen relies on is seen too.
    snapshots = _check_snapshots(repository, report)
    known = _check_condemned(repository, report)
    index, described, sizes = _check_index(repository, known, report)
    _check_listing(repository, index, sizes, report)
    orphans = sum(pack not in index for pack in sizes)
    report.figures |= {"snapshots": len(snapshots), "packs": len(index.packs), "orphan_packs": orphans}
    if depth == "listing":
        return report
    references = References(Blocks(repository.destination, index, repository.keys)).follow(snapshots)
    findings, unreadable = references.findings, references.damaged
    report.lacks_index |= bool(findings and orphans)
    # Of a million items it takes more memory than all that follows, which does without.
    del index, references
    for name in unreadable - report.damaged_packs:
        report.find_pack(name, "holds item lists that can't be read")
    if depth == "content":
        repository.writer.as_reader()
        whole = [pack for name, pack in described.items() if name not in report.damaged_packs]
        chosen = scope.choose(whole) if scope else whole
        read = reading(chosen) if reading else read_packs(repository, chosen, progress)
        for name, what in read.damaged:
            report.find_pack(name, what)
        report.figures |= {"read_packs": read.packs, "read_bytes": read.size, "chunks": read.chunks}
    if findings or report.damaged_packs:
        index, *_ = _check_index(repository, known, CheckReport())
        blocks = Blocks(repository.destination, index, repository.keys)
        gone = report.damaged_packs - repository.listed_packs().keys()
        _name_the_suffering(snapshots, blocks, known.condemned | known.damaged | gone, report)
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


def _check_index(
    repository: Inventory, known: Doubts, report: CheckReport
) -> tuple[Index, dict[bytes, Described], dict[bytes, int]]:
    """The index, what it says of each pack, and the sizes of the packs that are there. Of the packs' lists only the
    index's own are held, but for those of packs that come last."""

    lying = dict[str, str]()

    def load() -> tuple[Index, dict[bytes, Described], dict[bytes, int], dict[str, BackupError]]:
        sizes, broken = repository.listed_packs(), dict[str, BackupError]()
        index, described, named = Index(), dict[bytes, Described](), dict[str, set[bytes]]()
        late: list[tuple[SealedPack, str]] = []
        contested = set[bytes]()
        for pack, origin in repository.stored_packs(broken):
            if origin in lying:
                continue
            each = Described.of(pack)
            if described.setdefault(pack.name, each) != each:
                contested.add(pack.name)
            named.setdefault(origin, set()).add(pack.name)
            if known.rank(pack.name, there=sizes.get(pack.name) == pack.size):
                late.append((pack, origin))
            else:
                index.add(pack, origin)
        if contested and (found := lying_indexes(repository, contested, sizes)):
            lying.update(found)
            return load()
        _pass_over(repository, broken, sizes.keys() - known.damaged, named)
        # Once more: whatever the index names was there by then.
        sizes = repository.listed_packs()
        if repository.locks():
            # An index object that is locked outlives the packs that it names, once others have taken its place.
            needed = needed_indexes(named, sizes)
            late = [(pack, origin) for pack, origin in late if origin in needed or pack.name in sizes]
        late.sort(key=lambda each: known.rank(each[0].name, there=sizes.get(each[0].name) == each[0].size))
        for pack, origin in late:
            index.add(pack, origin)
        return index, {name: each for name, each in described.items() if name in index}, sizes, broken

    index, described, sizes, broken = settled(load, repository.source)
    index.sort()
    for name, what in {**lying, **broken}.items():
        report.find(name, str(what))
    report.lacks_index = bool(broken)
    return index, described, sizes


def _pass_over(
    repository: Inventory, broken: dict[str, BackupError], there: Collection[bytes], named: Mapping[str, set[bytes]]
) -> None:
    """Take out of the `broken` index objects those that are damaged where sound ones name all packs that are `there`:
    nothing is lost with them, and they only wait for a prune, or for their lock to end."""
    sound = (packs for origin, packs in named.items() if origin not in broken)
    if not broken or set(there) - set[bytes]().union(*sound):
        return
    for name in [name for name, error in broken.items() if isinstance(error, Damaged)]:
        del broken[name]
        # Whoever prunes from this host must see it as it is.
        repository.drop_copy(name)


def _check_listing(repository: Inventory, index: Index, sizes: Mapping[bytes, int], report: CheckReport) -> None:
    """Whether all indexed packs are there."""
    wrong = {pack.name: sizes.get(pack.name) for pack in index.packs if sizes.get(pack.name) != pack.size}
    if wrong:
        # A prune may have deleted them since the index was read, and dropped them from it before.
        named = settled(lambda: {pack.name for pack, _ in repository.stored_packs({})}, repository.source)
        wrong = {name: size for name, size in wrong.items() if name in named}
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

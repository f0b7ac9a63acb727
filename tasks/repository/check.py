"""Looking for damage: what is listed, what it refers to, and, with the private key, every stored byte."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from blake3 import blake3

from tasks.errors import BackupError, Damaged, Missing
from tasks.repository import compression
from tasks.repository import index as indexes
from tasks.repository.blocks import Blocks
from tasks.repository.index import Index
from tasks.repository.pack import LISTS, NAME, PackCipher, SealedPack, footer_of, object_name
from tasks.repository.references import References
from tasks.repository.sealing import unseal
from tasks.repository.snapshot import Snapshot

if TYPE_CHECKING:
    from tasks.repository.repository import Repository

Depth = Literal["listing", "items", "content"]


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

    def choose(self, packs: Iterable[SealedPack]) -> list[SealedPack]:
        made = {bytes.fromhex(name) for name in self.snapshot.packs}
        return [pack for pack in packs if pack.name in made or self._has_turn(pack.name)]

    def _has_turn(self, pack: bytes) -> bool:
        return bool(self.of) and int.from_bytes(pack[:4], "big") % self.of == self.part


@dataclass(slots=True)
class CheckReport:
    """`figures`: `snapshots`, `packs`, `orphan_packs`, and at depth *content* `read_packs`, `read_bytes`, `chunks`."""

    damage: list[Damage] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    damaged_packs: set[bytes] = field(default_factory=set)

    @property
    def good(self) -> bool:
        return not self.damage

    def find(self, name: str, what: str) -> None:
        self.damage.append(Damage(name, what))


def check(
    repository: Repository,
    depth: Depth = "items",
    scope: Scope | None = None,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> CheckReport:
    """*listing*: every object that something names is there, at its size, and opens. *items*: and every chunk that a
    snapshot refers to is in an indexed pack, every item list reads. *content*: and every block of every pack (in
    `scope`, if one is given) opens, decodes, and holds the chunks it should. Only what makes the check itself
    impossible is raised: `Unavailable`, `Refused`, `WrongKey`."""
    report = CheckReport()
    packs = _check_index(repository, report)
    listed = {entry.name: entry.size for entry in repository.destination.list("packs/")}
    index = Index()
    for pack, origin in packs:
        index.add(pack, origin)
        name = object_name(pack.name)
        size = listed.pop(name, None)
        if size is None:
            report.find(name, "is missing: an index names it, and it is not there")
            report.damaged_packs.add(pack.name)
        elif size != pack.size:
            report.find(name, f"has {size} bytes instead of {pack.size}")
            report.damaged_packs.add(pack.name)
    snapshots = _check_snapshots(repository, report)
    report.figures |= {"snapshots": len(snapshots), "packs": len(packs), "orphan_packs": len(listed)}
    if depth != "listing":
        blocks = Blocks(repository.destination, index, repository.keys)
        for snapshot_id, findings in References(blocks).follow(snapshots).findings.items():
            report.find(f"snapshots/{snapshot_id}", "; ".join(dict.fromkeys(findings)))
    if depth == "content":
        repository.writer.as_reader()
        whole = {pack.name: pack for pack, _ in packs if pack.name not in report.damaged_packs}.values()
        _check_contents(repository, scope.choose(whole) if scope else list(whole), report, progress)
    return report


def _check_index(repository: Repository, report: CheckReport) -> list[tuple[SealedPack, str]]:
    packs = []
    for listed in list(repository.destination.list("index/")):
        try:
            payload = unseal(repository.keys.metadata, listed.name, repository.destination.get(listed.name))
            packs += [(pack, listed.name) for pack in indexes.decode(listed.name, payload)]
        except (Damaged, Missing) as error:
            report.find(listed.name, str(error))
    return packs


def _check_snapshots(repository: Repository, report: CheckReport) -> list[Snapshot]:
    found = []
    for snapshot_id in repository.snapshot_ids():
        try:
            found.append(repository.snapshot(snapshot_id))
        except BackupError as error:
            if not isinstance(error, Damaged):
                raise
            report.find(f"snapshots/{snapshot_id}", str(error))
    return found


def _check_contents(
    repository: Repository,
    packs: list[SealedPack],
    report: CheckReport,
    progress: Callable[[dict[str, float]], None] | None,
) -> None:
    total, done, chunks = sum(pack.size for pack in packs), 0, 0
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads, "checking") as pool:
        running: deque[tuple[SealedPack, Future[int]]] = deque()
        waiting = deque(packs)
        while waiting or running:
            while waiting and len(running) <= threads:
                pack = waiting.popleft()
                running.append((pack, pool.submit(check_pack, repository, pack)))
            pack, future = running.popleft()
            try:
                chunks += future.result()
            except (Damaged, Missing) as error:
                report.find(object_name(pack.name), str(error))
                report.damaged_packs.add(pack.name)
            done += pack.size
            if progress:
                progress({"done_bytes": done, "total_bytes": total, "items": chunks})
    report.figures |= {"read_packs": len(packs), "read_bytes": done, "chunks": chunks}


def check_pack(repository: Repository, pack: SealedPack) -> int:
    """Read a pack whole and check all of it against its index. Returns the chunks. Raises `Damaged`, `Missing`."""
    name = object_name(pack.name)
    data = memoryview(repository.destination.get(name))
    cipher = PackCipher(pack.name, bytes(data[:128]), repository.keys)
    listed = cipher.open_footer(pack.name, footer_of(pack.name, data))
    if listed.to_parts() != pack.listed.to_parts() or cipher.kind != pack.kind:
        raise Damaged(f"`{name}`: its footer and its index disagree")
    key = repository.keys.listing if pack.kind == LISTS else repository.keys.naming
    at = 0
    for number, block in enumerate(listed.located(pack.kind)):
        sealed = data[block.offset : block.offset + block.stored]
        try:
            plain = compression.decode(block.method, cipher.open(number, block.method, sealed), block.raw)
        except ValueError as error:
            raise Damaged(f"`{name}`: block {number} does not decode: {error}") from error
        offset = 0
        for row in range(at, at + block.chunks):
            end = offset + listed.lengths[row]
            if blake3(plain[offset:end], key=key).digest(NAME) != listed.names[row * NAME : (row + 1) * NAME]:
                raise Damaged(f"`{name}`: block {number} holds a chunk that is not what was stored")
            offset = end
        at += block.chunks
    return at

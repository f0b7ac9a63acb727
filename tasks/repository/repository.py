"""A repository: one source's history at one destination. FORMAT.md says what is stored; this is the way in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import pathspec
from blake3 import blake3

from tasks.destinations.destination import Destination
from tasks.errors import (
    Damaged,
    Exists,
    Missing,
    NewerFormat,
    NotARepository,
    NotFound,
    Refused,
    Unavailable,
    WrongKey,
)
from tasks.item import Facts, Flaw, Item, Stored
from tasks.repository import index as indexes
from tasks.repository import proof as proving
from tasks.repository.blocks import Blocks
from tasks.repository.buffers import Buffers
from tasks.repository.check import CheckReport, Depth, Scope, check
from tasks.repository.condemned import condemned_packs, damaged_packs, doubtful_packs, put_sentence
from tasks.repository.copying import copy
from tasks.repository.index import Index
from tasks.repository.keys import FORMAT, RepositoryKeys, WriterKey, check_document, keyring_of
from tasks.repository.pack import SealedPack
from tasks.repository.packing import Packing
from tasks.repository.proof import Proof
from tasks.repository.pruning import PrunePlan, plan_prune
from tasks.repository.reading import Items
from tasks.repository.reindexing import rebuild_index
from tasks.repository.saving import Progress, Saving
from tasks.repository.sealing import seal, unseal
from tasks.repository.snapshot import About, Flawed, Snapshot

_MARKER = "repository"
_BUFFERS = 12
_INDEX_TRIES = 5
_MOST_FLAWS = 1000


class Capture(Protocol):
    """What a source's pass offers: items in order, and, once they are stored, flaws and facts."""

    def __iter__(self) -> Iterator[Item]: ...

    def stored(self, item: Stored) -> None: ...

    def flaws(self) -> Iterable[Flaw]: ...

    def facts(self) -> Facts: ...


class Repository:
    """Holds nothing but what can be read again; safe to throw away at any moment."""

    def __init__(self, destination: Destination, source: str, writer: WriterKey, cache: Path | None = None) -> None:
        """Use `open` or `create_or_open`. `cache` is a folder for copies of index objects; losing it loses nothing."""
        self.destination, self.source, self.writer = destination, source, writer
        self.keys: RepositoryKeys = writer.for_source(source)
        self._cache = cache
        self._index: Index | None = None

    @classmethod
    def open(cls, destination: Destination, writer: WriterKey, cache: Path | None = None) -> Repository:
        """Raises `NotARepository`, `NewerFormat`, `WrongKey`."""
        try:
            marker = destination.get(_MARKER)
        except Missing:
            raise NotARepository("there is no repository at this destination: nothing was ever uploaded here") from None
        try:
            fields = json.loads(marker)
            found, source, keyring = int(fields["format"]), str(fields["source"]), str(fields["keyring"])
        except (ValueError, KeyError, TypeError):
            raise Damaged("`repository` can't be read: the object that says what is stored here is damaged") from None
        if found > FORMAT:
            raise NewerFormat(f"the repository has format {found}; this version reads up to {FORMAT}: upgrade first")
        repository = cls(destination, source, writer, cache)
        if keyring != writer.keyring or fields["id"] != repository.keys.identity.hex():
            raise WrongKey(f"the repository of `{source}` belongs to keyring {keyring}, not to {writer.keyring}")
        return repository

    @classmethod
    def create_or_open(
        cls, destination: Destination, source: str, writer: WriterKey, document: bytes, *, cache: Path | None = None
    ) -> Repository:
        """Puts the keyring document and the marker where they are missing."""
        name = f"keys/{keyring_of(document)}"
        with suppress(NotARepository):
            opened = cls.open(destination, writer, cache)
            try:
                destination.get(name, 0, 0)
            except Missing:
                _put_once(destination, name, document)
            return opened
        marker = {
            "format": FORMAT,
            "id": writer.for_source(source).identity.hex(),
            "source": source,
            "keyring": writer.keyring,
            "document": blake3(document).hexdigest(),
        }
        _put_once(destination, name, document)
        _put_once(destination, _MARKER, json.dumps(marker).encode())
        return cls.open(destination, writer, cache)

    @staticmethod
    def key_document(destination: Destination) -> bytes:
        """The keyring document that is stored beside the packs: with a passphrase, all that a restore needs."""
        try:
            name = f"keys/{json.loads(destination.get(_MARKER))['keyring']}"
        except Missing:
            raise NotARepository("there is no repository at this destination: nothing was ever uploaded here") from None
        except (ValueError, KeyError, TypeError):
            raise Damaged("`repository` can't be read: the object that says what is stored here is damaged") from None
        try:
            return destination.get(name)
        except Missing:
            raise Damaged(f"`{name}` is missing: put the keyring's `keyring.json` there under that name") from None

    def check_key_document(self) -> None:
        """Raises `Damaged` or `NewerFormat` where the keyring document that is stored here would open nothing."""
        document = self.key_document(self.destination)
        check_document(document, self.writer)
        if json.loads(self.destination.get(_MARKER)).get("document") not in (None, blake3(document).hexdigest()):
            raise Damaged(f"`keys/{self.writer.keyring}` is not what was stored: put `keyring.json` there in its place")

    def snapshots(self) -> list[Snapshot]:
        """All of them, oldest first. Raises `Damaged` naming one that can't be read."""
        found = [self._snapshot(listed.name) for listed in self.destination.list("snapshots/")]
        return sorted(found, key=lambda snapshot: (snapshot.started, snapshot.id))

    def readable_snapshots(self) -> list[Snapshot]:
        """Those that can be read, oldest first: one damaged object must stop neither a capture nor a restore."""
        found = []
        for name in self.snapshot_ids():
            with suppress(Damaged, NewerFormat, NotFound):
                found.append(self.snapshot(name))
        return sorted(found, key=lambda snapshot: (snapshot.started, snapshot.id))

    def snapshot_ids(self) -> list[str]:
        """Without reading them; sorted by time."""
        return [listed.name.removeprefix("snapshots/") for listed in self.destination.list("snapshots/")]

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """Raises `NotFound`."""
        try:
            return self._snapshot(f"snapshots/{snapshot_id}")
        except (Missing, Refused):
            raise NotFound(
                f"`{self.source}` has no snapshot `{snapshot_id}` here: `list` shows what there is"
            ) from None

    def _snapshot(self, name: str) -> Snapshot:
        payload = unseal(self.keys.metadata, name, self.destination.get(name))
        return Snapshot.from_bytes(name, payload)

    def index(self, *, refresh: bool = False) -> Index:
        """Where the chunks lie that may be relied on: all indexed packs but the condemned ones."""
        if self._index is None or refresh:
            self._index = self._load_index(condemned_packs(self.destination, self.keys), last=False)
        return self._index

    def whole_index(self, *, strict: bool = False) -> Index:
        """The index with the condemned and the damaged packs too. Of a chunk that is stored twice, the place in a pack
        that is neither is the one found. `strict`: raises `Damaged` where a part of it can't be read."""
        doubtful = condemned_packs if strict else doubtful_packs
        return self._load_index(doubtful(self.destination, self.keys), last=True, strict=strict)

    def _load_index(self, doubtful: Collection[bytes], *, last: bool, strict: bool = False) -> Index:
        """Unless `strict`, what a damaged index object names is unknown: it is stored again, or missed when read."""
        for _ in range(_INDEX_TRIES):
            loaded = Index()
            try:
                late = []
                for origin in self.index_names():
                    for pack in self._packs_of(origin, strict):
                        if pack.name in doubtful:
                            late.append((pack, origin))
                        else:
                            loaded.add(pack, origin)
                for pack, origin in late if last else ():
                    loaded.add(pack, origin)
                return loaded
            except Missing:
                # A prune has put this object's packs into another one meanwhile: look again.
                continue
        raise Unavailable(f"the index of `{self.source}` changes faster than it can be read: is a prune in a loop?")

    def _packs_of(self, name: str, strict: bool) -> list[SealedPack]:
        try:
            return self.index_object(name)
        except (Damaged, NewerFormat):
            if strict:
                raise
            return []

    def index_names(self) -> list[str]:
        return [listed.name for listed in self.destination.list("index/")]

    def index_object(self, name: str) -> list[SealedPack]:
        """Raises `Damaged`, `Missing`."""
        return indexes.decode(name, self._index_payload(name))

    def _index_payload(self, name: str) -> bytes:
        copy_of = self._cache / self.keys.identity.hex() / name if self._cache else None
        if copy_of and copy_of.exists():
            try:
                return unseal(self.keys.metadata, name, copy_of.read_bytes())
            except Damaged:
                copy_of.unlink(missing_ok=True)
        data = self.destination.get(name)
        payload = unseal(self.keys.metadata, name, data)
        if copy_of:
            copy_of.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=copy_of.parent, delete=False) as file:
                file.write(data)
            Path(file.name).replace(copy_of)
        return payload

    def read(self, snapshot: Snapshot) -> Items:
        """The snapshot's items. Also reads what lies in condemned packs, as long as it is there."""
        blocks = Blocks(self.destination, self.whole_index(), self.keys)
        return Items(blocks, snapshot.level, bytes.fromhex(snapshot.content))

    def save(
        self,
        capture: Capture,
        about: About,
        into: Destination,
        *,
        scratch: Path | None = None,
        progress: Progress | None = None,
    ) -> Snapshot:
        """Take a snapshot: new chunks, their index and, last, the snapshot go into `into`, which is this repository's
        destination or a spool beside it. What `into` has indexed already, from a run that was killed, is used.
        `scratch` is a folder on the same disk as `into`, for packs under way. The same `about.id` again returns what
        is there. Raises `SourceError`, `Unavailable`, `NoSpace`, `Damaged`.
        """
        name = f"snapshots/{about.id}"
        existing = next((listed for listed in into.list(name) if listed.name == name), None)
        if existing:
            return Snapshot.from_bytes(name, unseal(self.keys.metadata, name, into.get(name)))
        index = self.index(refresh=True)
        known = index
        if into is not self.destination:
            # A second index for looking up only: blocks are read from here, not from `into`.
            known = self._load_index(condemned_packs(self.destination, self.keys), last=False)
            waiting = Repository(into, self.source, self.writer)
            for origin in waiting.index_names():
                for pack in waiting.index_object(origin):
                    known.add(pack, origin)
        last = max(self.readable_snapshots(), key=lambda snapshot: snapshot.started, default=None)
        blocks = Blocks(self.destination, index, self.keys)
        previous = Items(blocks, last.level, bytes.fromhex(last.content)) if last else Items(blocks, 0, b"")
        buffers = Buffers(_BUFFERS)
        expected = last.figures.get("content_bytes", 0) if last else 0
        with tempfile.TemporaryDirectory(prefix="packs-", dir=scratch) as folder:
            packing = Packing(into, Path(folder), self.keys, buffers)
            with packing:
                saving = Saving(
                    self.keys,
                    packing,
                    buffers,
                    known=known,
                    previous=_readable(previous),
                    lists=previous,
                    progress=progress,
                    expected_bytes=expected,
                )
                saved = saving.save(capture, capture.stored)
        flaws = _allowed([*capture.flaws(), *saved.flaws], about.allow_incomplete)
        snapshot = Snapshot(
            id=about.id,
            source=about.source,
            kind=about.kind,
            run=about.run,
            plan=about.plan,
            host=about.host,
            started=about.started,
            finished=datetime.now(UTC),
            complete=all(flaw.allowed for flaw in flaws),
            version=_version(),
            level=saved.level,
            content=saved.content.hex(),
            roots=about.roots,
            flaws=tuple(sorted(flaws, key=lambda flaw: flaw.allowed)[:_MOST_FLAWS]),
            packs=tuple(pack.hex() for pack in packing.packs),
            facts=capture.facts(),
            figures=saved.figures | {"flaws": len(flaws)},
        )
        try:
            into.put(name, seal(self.keys.metadata, name, snapshot.to_bytes()))
        except Exists:
            # The same task ran twice at once: the other one was first, and its snapshot is as good.
            return Snapshot.from_bytes(name, unseal(self.keys.metadata, name, into.get(name)))
        return snapshot

    def check(
        self, depth: Depth = "items", scope: Scope | None = None, progress: Progress | None = None
    ) -> CheckReport:
        """See `tasks.repository.check.check`."""
        return check(self, depth, scope, progress)

    def plan_prune(self, forget: Collection[str], now: datetime, grace: timedelta) -> PrunePlan:
        """See `tasks.repository.pruning.plan_prune`."""
        return plan_prune(self, forget, now, grace)

    def condemn_damaged(self, packs: Collection[bytes], now: datetime) -> None:
        """From now on no capture relies on these packs: what they held is stored again, where it is still to be had."""
        new = set(packs) - damaged_packs(self.destination, self.keys)
        if new:
            put_sentence(self.destination, self.keys, now, damaged=new)

    def rebuild_index(self) -> int:
        """See `tasks.repository.reindexing.rebuild_index`."""
        return rebuild_index(self)

    def copy(self, snapshot_id: str, to: Repository, progress: Progress | None = None) -> dict[str, float]:
        return copy(self, snapshot_id, to, progress)

    def prove(self, proof: Proof) -> None:
        proving.put_proof(self.destination, self.keys, proof)

    def proofs(self) -> dict[str, list[Proof]]:
        return proving.proofs(self.destination, self.keys)


def _put_once(destination: Destination, name: str, data: bytes) -> None:
    try:
        destination.put(name, data)
    except Exists:
        if destination.get(name) != data:
            raise WrongKey(f"`{name}` is there already and is another: two installations share this place") from None


def _readable(items: Items) -> Iterator[Stored]:
    """The last item list as far as it can be read: what is damaged must not stop a new capture."""
    try:
        yield from items
    except (Damaged, Missing):
        return


def _allowed(flaws: list[Flaw], patterns: tuple[str, ...]) -> list[Flawed]:
    spec = pathspec.GitIgnoreSpec.from_lines(patterns)
    return [
        Flawed(path := flaw.path.decode(errors="surrogateescape"), flaw.what, flaw.why, spec.match_file(path))
        for flaw in flaws
    ]


def _version() -> str:
    try:
        return version("geometra-backup")
    except PackageNotFoundError:
        return "source"

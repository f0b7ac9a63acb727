"""What a repository holds, read afresh: its marker, keyring document, snapshots and index."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import IO, Self, TypeVar

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
from tasks.repository import index as indexes
from tasks.repository.condemned import doubts
from tasks.repository.flights import ahead
from tasks.repository.index import Index
from tasks.repository.index_copies import IndexCopies
from tasks.repository.keys import FORMAT, RepositoryKeys, WriterKey, check_document, keyring_of
from tasks.repository.locks import Locks
from tasks.repository.pack import LISTS, SealedPack, pack_named
from tasks.repository.reliance import Remembered
from tasks.repository.sealing import unseal, unseal_stream
from tasks.repository.snapshot import Snapshot

T = TypeVar("T")

_MARKER = "repository"
_INDEX_TRIES = 5
_SMALL_BYTES = 1 << 20
"""Of an index object, up to which it is read before its turn: those that a prune has merged are up to 40 MB large."""


class Inventory:
    """The part of a repository that its verbs stand on. Holds nothing but what can be read again."""

    def __init__(self, destination: Destination, source: str, writer: WriterKey, cache: Path | None = None) -> None:
        """Use `open` or `create_or_open`. `cache` is a folder for copies of index objects; losing it loses nothing."""
        self.destination, self.source, self.writer = destination, source, writer
        self.keys: RepositoryKeys = writer.for_source(source)
        self.clock: Callable[[], datetime] = _now
        self._cache = cache / self.keys.identity.hex() if cache else None
        self._copies = IndexCopies(self._cache)
        self._remembered = Remembered(self._cache, self.keys)

    @classmethod
    def open(cls, destination: Destination, writer: WriterKey, cache: Path | None = None) -> Self:
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
        cls,
        destination: Destination,
        source: str,
        writer: WriterKey,
        document: bytes,
        *,
        cache: Path | None = None,
        begin: bool = True,
    ) -> Self:
        """Puts the keyring document and the marker where they are missing. Without `begin` only the document: raises
        `NotARepository` where there is no marker."""
        name = f"keys/{keyring_of(document)}"
        try:
            opened = cls.open(destination, writer, cache)
        except NotARepository:
            if not begin:
                raise
        else:
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
        try:
            expected = json.loads(self.destination.get(_MARKER)).get("document")
        except (ValueError, AttributeError):
            raise Damaged("`repository` can't be read: the object that says what is stored here is damaged") from None
        if expected not in (None, blake3(document).hexdigest()):
            raise Damaged(f"`keys/{self.writer.keyring}` is not what was stored: put `keyring.json` there in its place")

    def snapshots(self) -> list[Snapshot]:
        """All of them, oldest first. Raises `Damaged` naming one that can't be read."""
        found = ahead(lambda listed: self._snapshot(listed.name), self.destination.list("snapshots/"))
        return sorted(found, key=lambda snapshot: (snapshot.started, snapshot.id))

    def readable_snapshots(self) -> list[Snapshot]:
        """Those that can be read, oldest first: one damaged object must stop neither a capture nor a restore."""

        def read(snapshot_id: str) -> Snapshot | None:
            with suppress(Damaged, NewerFormat, NotFound):
                return self.snapshot(snapshot_id)
            return None

        found = filter(None, ahead(read, self.snapshot_ids()))
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

    def reliable_index(self, *, lists: bool = False) -> Index:
        """What a capture may rely on: all indexed packs that are there, and neither condemned nor damaged. Of others
        than `lists`, if only these are wanted, no more than the names."""
        found, there = doubts(self.destination, self.keys), self._presence()
        named = _is_content if lists else None
        return self._load_index(lambda pack: None if found.rank(pack.name, there=there(pack)) else 0, named=named)

    def sound_index(
        self,
        *,
        without: Collection[bytes] = (),
        known: Index | None = None,
        lists: bool = False,
        names: bool = False,
    ) -> Index:
        """What can be read from: all indexed packs that are there, but the damaged ones; the condemned ones last. Of
        those that are `known`, no more than the names; nor of others than `lists`, if only these are wanted; nor of any
        if only `names` are."""
        found, there = doubts(self.destination, self.keys), self._presence()

        def rank(pack: SealedPack) -> int | None:
            best = found.rank(pack.name, there=there(pack))
            return None if best > 1 or pack.name in without else best

        def named(pack: SealedPack) -> bool:
            return names or (known is not None and pack.name in known) or (lists and _is_content(pack))

        return self._load_index(rank, named=named)

    def whole_index(self, *, strict: bool = False) -> Index:
        """The index with all that is condemned, damaged or lost too. Of a chunk that is stored twice, the best place is
        the one found. `strict`: raises `Damaged` where a part of the index, or a list of condemned packs, can't be
        read."""
        found, there = doubts(self.destination, self.keys, strict=strict), self._presence()
        return self._load_index(lambda pack: found.rank(pack.name, there=there(pack)), strict=strict)

    def listed_packs(self) -> dict[bytes, int]:
        """Sizes by name of the packs that are there, indexed or not."""
        listed = self.destination.list("packs/")
        return {pack: size for name, size in listed if (pack := pack_named(name))}

    def _presence(self) -> Callable[[SealedPack], bool]:
        sizes = self.listed_packs()
        return lambda pack: sizes.get(pack.name) == pack.size

    def _load_index(
        self,
        rank: Callable[[SealedPack], int | None],
        *,
        strict: bool = False,
        named: Callable[[SealedPack], bool] | None = None,
    ) -> Index:
        """Packs of a lower rank come first, so that of a chunk stored twice the better place is found; None leaves a
        pack out. Of those that are to be `named`, the chunks are left out. Unless `strict`, what a damaged index object
        names is unknown: it is stored again, or missed when read."""
        for _ in range(_INDEX_TRIES):
            loaded, names = Index(), set[str]()
            late: list[tuple[int, SealedPack, str]] = []
            try:
                for origin, packs in self.index_objects(strict=strict):
                    names.add(origin)
                    for pack in packs:
                        place = rank(pack)
                        if place is not None and named is not None and named(pack):
                            loaded.add_name(pack, origin)
                        elif place == 0:
                            loaded.add(pack, origin)
                        elif place is not None:
                            late.append((place, pack, origin))
            except Missing:
                # A prune has put this object's packs into another one meanwhile: look again.
                continue
            for _, pack, origin in sorted(late, key=itemgetter(0)):
                loaded.add(pack, origin)
            self._copies.keep_only(names)
            return loaded
        raise Unavailable(f"the index of `{self.source}` changes faster than it can be read: is a prune in a loop?")

    def index_objects(
        self, *, strict: bool = True, without: Collection[str] = ()
    ) -> Iterator[tuple[str, Iterator[SealedPack]]]:
        """The name of each index object that is listed, and what `packs_of` gives of it."""

        for name, payload in self._each_index(lambda name: self._payload_of(name, strict), without):
            yield name, _packs_in(name, payload, strict)

    def index_data(self) -> Iterator[tuple[str, bytes]]:
        """The name of each index object that is listed, and its bytes as they are stored: no copy is asked. Raises
        `Missing`."""
        return self._each_index(self.destination.get)

    def _each_index(self, get: Callable[[str], T], without: Collection[str] = ()) -> Iterator[tuple[str, T]]:
        listed = (each for each in self.destination.list("index/") if each.name not in without)
        return ahead(lambda each: (each.name, get(each.name)), listed, is_small=lambda each: each.size <= _SMALL_BYTES)

    def packs_of(self, origin: str, *, strict: bool = True) -> Iterator[SealedPack]:
        """Those that an index object names, one at a time. Raises `Missing`; if `strict`, `Damaged` and `NewerFormat`,
        else those that can't be read any more are left out."""
        yield from _packs_in(origin, self._payload_of(origin, strict), strict)

    def _payload_of(self, origin: str, strict: bool) -> IO[bytes] | None:
        try:
            return self._index_payload(origin)
        except (Damaged, NewerFormat):
            if strict:
                raise
            return None

    def locks(self) -> Locks:
        """Of what is stored here, as far as it is locked at all."""
        return Locks(self.destination, self._cache)

    def index_names(self) -> list[str]:
        return [listed.name for listed in self.destination.list("index/")]

    def _index_payload(self, name: str) -> IO[bytes]:
        if (data := self._copies.read(name)) is not None:
            try:
                return unseal_stream(self.keys.metadata, name, data)
            except Damaged:
                self._copies.drop(name)
        data = self.destination.get(name)
        payload = unseal_stream(self.keys.metadata, name, data)
        self._copies.keep(name, data)
        return payload


def _packs_in(origin: str, payload: IO[bytes] | None, strict: bool) -> Iterator[SealedPack]:
    if payload is None:
        return
    try:
        yield from indexes.decode(origin, payload)
    except (Damaged, NewerFormat):
        if strict:
            raise


def _is_content(pack: SealedPack) -> bool:
    return pack.kind != LISTS


def _now() -> datetime:
    return datetime.now(UTC)


def _put_once(destination: Destination, name: str, data: bytes) -> None:
    try:
        destination.put(name, data)
    except Exists:
        if destination.get(name) != data:
            raise WrongKey(f"`{name}` is there already and is another: two installations share this place") from None

"""A repository's index as it is stored: objects listed, read, ranked by what is known of their packs, and loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import IO, TypeVar

from tasks.destinations.destination import Destination, Listed, is_near
from tasks.destinations.file_errors import explained
from tasks.errors import BackupError, Damaged, Missing, NewerFormat, Unavailable
from tasks.repository import index as indexes
from tasks.repository.condemned import doubts
from tasks.repository.flights import ahead
from tasks.repository.index import Index
from tasks.repository.index_copies import IndexCopies
from tasks.repository.keys import RepositoryKeys, WriterKey
from tasks.repository.known import Known
from tasks.repository.pack import LISTS, SealedPack, pack_named
from tasks.repository.reliance import Remembered
from tasks.repository.sealing import unseal_stream

T = TypeVar("T")

_INDEX_TRIES = 5
_SMALL_BYTES = 3 << 19
"""Of an index object that is far away, up to which it is read before its turn. A capture's are smaller, those that a
prune has merged larger, and those of earlier builds up to 40 MB."""


class StoredIndex:
    """The part of a repository that knows where chunks lie. Holds nothing but what can be read again."""

    def __init__(self, destination: Destination, source: str, writer: WriterKey, cache: Path | None = None) -> None:
        """`cache` is a folder for copies of index objects; losing it loses nothing."""
        self.destination, self.source, self.writer = destination, source, writer
        self.keys: RepositoryKeys = writer.for_source(source)
        self.clock: Callable[[], datetime] = _now
        self._cache = cache / self.keys.identity.hex() if cache else None
        self._copies = IndexCopies(self._cache)
        self._remembered = Remembered(self._cache, self.keys)

    def place(self) -> Path | None:
        """A folder of this host where there is room for what is not whole yet; None: that for temporary files. Raises
        `NoSpace`, `Refused`, `Unavailable`."""
        if self._cache:
            with explained("make", self._cache):
                self._cache.mkdir(parents=True, exist_ok=True)
        return self._cache

    def reliable_lists(self, known: Known | None = None) -> Index:
        """What a capture may rely on: all indexed packs that are there, and neither condemned nor damaged. Of others
        than lists, no more than their names; `known` is told of all of them."""
        found, there = doubts(self.destination, self.keys), self._presence()

        def rank(pack: SealedPack) -> int | None:
            return None if found.rank(pack.name, there=there(pack)) else 0

        return self._load_index(rank, named=_is_content, known=known)

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

    def whole_index(self, *, strict: bool = False, without: Collection[str] = ()) -> Index:
        """The index with all that is condemned, damaged or lost too, but for what the objects `without` say. Of a chunk
        that is stored twice, the best place is the one found. `strict`: raises `Damaged` where a part of the index, or
        a list of condemned packs, can't be read."""
        found, there = doubts(self.destination, self.keys, strict=strict), self._presence()
        return self._load_index(lambda pack: found.rank(pack.name, there=there(pack)), strict=strict, without=without)

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
        known: Known | None = None,
        without: Collection[str] = (),
    ) -> Index:
        """Packs of a lower rank come first, so that of a chunk stored twice the better place is found; None leaves a
        pack out. Of those that are to be `named`, the chunks are left out; `known` is told of all. Unless `strict`,
        what a damaged index object names is unknown: it is stored again, or missed when read."""

        def load() -> tuple[Index, set[str]]:
            index, names = Index(), set[str]()
            late: list[tuple[int, SealedPack, str]] = []
            if known is not None:
                known.forget()
            for origin, packs in self.index_objects(strict=strict, without=without):
                names.add(origin)
                for pack in packs:
                    place = rank(pack)
                    if place is None:
                        continue
                    if known is not None:
                        known.add(pack)
                    if named is not None and named(pack):
                        index.add_name(pack, origin)
                    elif place == 0:
                        index.add(pack, origin)
                    else:
                        late.append((place, pack, origin))
            for _, pack, origin in sorted(late, key=itemgetter(0)):
                index.add(pack, origin)
            return index, names

        loaded, names = settled(load, self.source)
        self._copies.keep_only(names)
        loaded.sort()
        return loaded

    def index_objects(
        self, *, strict: bool = True, without: Collection[str] = ()
    ) -> Iterator[tuple[str, Iterator[SealedPack]]]:
        """The name of each index object that is listed, and what `packs_of` gives of it."""

        for name, payload in self._each_index(lambda name: self._payload_of(name, strict), without):
            yield name, _packs_in(name, payload, strict)

    def stored_packs(self, broken: dict[str, BackupError]) -> Iterator[tuple[SealedPack, str]]:
        """All packs that the index objects name as they are stored, whatever a copy says, and which of them does. Of
        those that can't be read any more, or not to their end, `broken` is told why. Raises `Missing`."""

        def get(name: str) -> bytes | Damaged:
            try:
                return self.destination.get(name)
            except Damaged as error:
                return error

        for name, data in self._each_index(get):
            try:
                if isinstance(data, Damaged):
                    raise data
                for pack in indexes.decode(name, unseal_stream(self.keys.metadata, name, data)):
                    yield pack, name
            except (Damaged, NewerFormat) as error:
                broken[name] = error

    def damaged_indexes(self) -> list[str]:
        """Index objects that neither a copy nor what is stored lets read. Raises `NewerFormat`."""

        def opens(name: str) -> bool:
            # Missing: a prune has put this object's packs into another one meanwhile.
            with suppress(Missing):
                try:
                    self._index_payload(name)
                except Damaged:
                    return False
            return True

        return [name for name, sound in self._each_index(opens) if not sound]

    def drop_copy(self, name: str) -> None:
        """Of an index object that is damaged where it is stored, so that nothing on this host relies on it alone."""
        self._copies.drop(name)

    def _each_index(self, get: Callable[[str], T], without: Collection[str] = ()) -> Iterator[tuple[str, T]]:
        def read(each: Listed) -> tuple[str, T]:
            return each.name, get(each.name)

        def is_small_and_far(each: Listed) -> bool:
            # Nothing is read before its turn where it is at hand: several of them would be in memory for nothing.
            return each.size <= _SMALL_BYTES and not is_near(self.destination, each.name)

        # Listed to its end before any is read, which may take minutes: a prune may put what is still to come into one
        # that would have come before.
        listed = [each for each in self.destination.list("index/") if each.name not in without]
        return ahead(read, listed, is_small=is_small_and_far)

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

    def index_names(self) -> list[str]:
        return [listed.name for listed in self.destination.list("index/")]

    def _index_payload(self, name: str) -> IO[bytes]:
        if (data := self._copies.read(name)) is not None:
            try:
                return unseal_stream(self.keys.metadata, name, data)
            except (Damaged, NewerFormat):
                self._copies.drop(name)
        data = self.destination.get(name)
        payload = unseal_stream(self.keys.metadata, name, data)
        self._copies.keep(name, data)
        return payload


def settled(look: Callable[[], T], source: str) -> T:
    """What a look at the index gives that no prune gets in the way of."""
    for _ in range(_INDEX_TRIES):
        # A prune may put an index object's packs into another one meanwhile.
        with suppress(Missing):
            return look()
    raise Unavailable(f"the index of `{source}` changes faster than it can be read: is a prune in a loop?")


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

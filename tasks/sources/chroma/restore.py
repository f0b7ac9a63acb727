"""Collections into a running server: in batches, going on where an earlier try ended, and never into other data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.errors import TO_OVERWRITE, NotFound, Occupied, SettingsError, Unavailable
from tasks.sources.chroma.facts import line
from tasks.sources.chroma.records import BATCH, Batch, Collection, Record, Records, at_once
from tasks.sources.chroma.server import NotTaken, Server, ServerCollection, configuration_of
from tasks.sources.chroma.settings import ChromaTarget
from tasks.sources.chroma.stored_folder import StoredCollection

_MOST_BYTES = 8 << 20
_MOST_NOT_TAKEN = 100
"""Records of one collection that a server may refuse before something else must be wrong."""
_ULPS = 16
"""Units in the last place by which a cosine vector may differ after it went to a server and back."""
_REAL = _ULPS * 2.0**-53
"""So may a real number in metadata, as a part of itself: Chroma 1 misses its last bits when it reads its own JSON."""


def chosen_collections(known: Sequence[Records], target: ChromaTarget) -> list[tuple[Records, Collection]]:
    """The collections to restore, and what each is to be there. Raises `NotFound`, `SettingsError`."""
    wanted = target.collection
    taken = [each for each in known if wanted is None or wanted in (each.about.name, each.about.label)]
    if not taken and wanted is not None:
        names = ", ".join(f"`{each.about.label}`" for each in known[:20]) or "none"
        raise NotFound(f"the snapshot has no collection `{wanted}`; it has {names}")
    placed = []
    for each in taken:
        about = each.about
        placed.append(
            replace(
                about,
                tenant=target.tenant or about.tenant,
                database=target.database or about.database,
                name=target.as_ or about.name,
            )
        )
    if len({about.label for about in placed}) < len(placed):
        raise SettingsError(
            "two collections would have one name there: say which one with `collection=tenant/database/name`"
        )
    return list(zip(taken, placed, strict=True))


@dataclass(slots=True)
class _Present:
    """What a collection holds already: the ids that the snapshot has alike, has otherwise, and has not."""

    alike: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)


class CollectionRestore:
    """Puts one collection back. `replace`: what is there and is not the snapshot's goes; `mix`: it stays."""

    def __init__(self, server: Server, *, replace: bool, mix: bool) -> None:
        self._server, self._replace, self._mix = server, replace, mix
        most, self._in_base64 = server.limits()
        self._most = max(1, min(most, BATCH))

    def put(self, records: Records, about: Collection) -> list[str]:
        """What could not be given back. Raises `Occupied` before anything is changed, `Unavailable`, `Refused`,
        `NotTaken` where that is the collection or most of it; doing it again goes on where it ended."""
        there = self._server.find(about.tenant, about.database, about.name)
        if there is not None and not self._fits(there, about):
            if not self._replace:
                raise Occupied(
                    f"`{about.label}` is there already, with {_shape(there.about)} instead of {_shape(about)}: restore"
                    f" under another name (`as`), or {TO_OVERWRITE}"
                )
            there.delete()
            there = None
        present, was_there = _Present(), there is not None
        if there is None:
            there = self._server.create(about)
        else:
            present = self._compared(records, there, set(there.ids()))
            self._judge(present, there, about)
            for some in _parts(sorted(present.other | (present.foreign if not self._mix else set())), self._most):
                there.remove(some)
        expected = len(present.foreign) if self._mix else 0
        not_taken: dict[str, str] = {}
        changed = 0
        for whole in records.batches():
            batch = _finite(whole)
            changed += sum(one is not other for one, other in zip(batch.records, whole.records, strict=True))
            expected += len(batch.records)
            new = [at for at, record in enumerate(batch.records) if record.id not in present.alike]
            for part in self._sized(batch, new):
                self._add(there, part, not_taken)
        held = there.count()
        expected -= len(not_taken)
        if held != expected:
            raise Unavailable(
                f"the collection `{about.label}` holds {held} records instead of {expected}: does something else write"
                " to it?"
            )
        missed = self._missed(records, about, was_there=was_there)
        if changed:
            missed.append(f"{changed} records of `{about.label}` without what is no finite number in their metadata")
        return missed + [f"the record `{name}` of `{about.label}`: {why}" for name, why in not_taken.items()]

    def _add(self, there: ServerCollection, part: Batch, not_taken: dict[str, str]) -> None:
        """All but those that this version does not take, as it does not a vector with NaN, which older ones did."""
        try:
            there.add(part, in_base64=self._in_base64)
        except NotTaken as error:
            if len(part.records) > 1:
                half = len(part.records) // 2
                for rows in (slice(half), slice(half, None)):
                    self._add(there, Batch(part.records[rows], part.vectors[rows]), not_taken)
                return
            not_taken[part.ids[0]] = str(error)
            if len(not_taken) > _MOST_NOT_TAKEN:
                raise

    def _fits(self, there: ServerCollection, about: Collection) -> bool:
        dimensions = {each.dimension for each in (there.about, about)} - {None}
        return there.about.distance == about.distance and len(dimensions) < 2

    def _compared(self, records: Records, there: ServerCollection, ids: set[str]) -> _Present:
        present = _Present(foreign=ids)
        for batch in map(_finite, records.batches()) if ids else ():
            common = [name for name in batch.ids if name in ids]
            held = {record.id: (record, vector) for record, vector in there.fetch(common)} if common else {}
            for at, record in enumerate(batch.records):
                if record.id in held:
                    same = _same(batch, at, held[record.id], cosine=there.about.distance == "cosine")
                    (present.alike if same else present.other).add(record.id)
            ids.difference_update(common)
        return present

    def _judge(self, present: _Present, there: ServerCollection, about: Collection) -> None:
        otherwise = there.about.metadata != about.metadata and not self._mix
        if (self._replace or self._mix) and otherwise and about.metadata:
            there.give_metadata(about.metadata)
        if self._replace or self._mix or not (present.foreign or present.other or otherwise):
            return
        what = f"{len(present.foreign)} other records and {len(present.other)} of the same ids that differ"
        if not (present.foreign or present.other):
            what = "other metadata"
        raise Occupied(
            f"the collection `{about.label}` is there already, with {what}: restore under another name (`as`),"
            f" {TO_OVERWRITE}, and they go, or to `mix`, and they stay"
        )

    def _sized(self, batch: Batch, rows: list[int]) -> Iterator[Batch]:
        """Parts that a server takes in one request."""
        some: list[int] = []
        size = 0
        most = self._most if self._in_base64 else min(self._most, at_once(batch.vectors.shape[1]))
        for at in rows:
            record = batch.records[at]
            length = 6 * batch.vectors.shape[1] + 4 * len(record.document or "") + 2 * len(str(record.metadata)) + 200
            if some and (len(some) >= most or size + length > _MOST_BYTES):
                yield Batch([batch.records[each] for each in some], batch.vectors[some])
                some, size = [], 0
            some.append(at)
            size += length
        if some:
            yield Batch([batch.records[each] for each in some], batch.vectors[some])

    def _missed(self, records: Records, about: Collection, *, was_there: bool) -> list[str]:
        missed = []
        if isinstance(records, StoredCollection) and records.without_vector:
            count = len(records.without_vector)
            missed.append(f"{count} records of `{about.label}` have no vector in the snapshot, as in the original")
        latest = self._server.find(about.tenant, about.database, about.name)
        if latest and latest.about.metadata != about.metadata and not self._mix:
            missed.append(f"the collection `{about.label}` had no metadata; Chroma can't take away what is there")
        if latest and was_there and (otherwise := _built_otherwise(latest.about, about)):
            missed.append(
                f"the collection `{about.label}` was there, with {otherwise}: delete it and restore again to have"
                " it as it was"
            )
        return missed


def _shape(about: Collection) -> str:
    return f"{about.dimension or 'no'} dimensions and the distance {about.distance}"


def _built_otherwise(there: Collection, about: Collection) -> str:
    """Which settings of its index, or whether its embedding function, are others than they were."""
    held, given = configuration_of(there), configuration_of(about)
    index, wanted = held["hnsw"], given["hnsw"]
    said = [
        f"{name} {index[name]} instead of {wanted[name]}"
        for name in wanted
        if name in index and index[name] != wanted[name]
    ]
    functions = [each.get("embedding_function") for each in (held, given)]
    said += ["another embedding function"] if all(functions) and functions[0] != functions[1] else []
    return ", ".join(said)


def _same(batch: Batch, at: int, held: tuple[Record, bytes], *, cosine: bool) -> bool:
    from tasks.numbers import numpy as np

    record, data = held
    if not _said_alike(record, batch.records[at]) or len(data) != 4 * batch.vectors.shape[1]:
        return False
    vector = np.frombuffer(data, "<f4")
    if not cosine:
        return data == np.ascontiguousarray(batch.vectors[at], "<f4").tobytes()
    greatest = np.abs(batch.vectors[at]).max(initial=0)
    near = _ULPS * np.spacing(np.float32(greatest))
    return bool((np.abs(vector - batch.vectors[at]) <= near).all())


def _said_alike(held: Record, given: Record) -> bool:
    """The same, but for the last bits of real numbers."""
    if line(held) == line(given):
        return True
    there, here = held.metadata or {}, given.metadata or {}
    rest = held._replace(metadata=None) == given._replace(metadata=None)
    return rest and there.keys() == here.keys() and all(_near(there[key], here[key]) for key in here)


def _near(held: Any, given: Any) -> bool:
    if isinstance(held, list) and isinstance(given, list):
        return len(held) == len(given) and all(map(_near, held, given))
    if isinstance(held, float) and isinstance(given, float):
        return math.isclose(held, given, rel_tol=_REAL)
    return type(held) is type(given) and bool(held == given)


def _finite(batch: Batch) -> Batch:
    """Without what is in metadata no finite number, which no server takes. Older versions took it, and SQLite keeps a
    NaN as nothing."""
    return batch._replace(records=[_with_finite(record) for record in batch.records])


def _with_finite(record: Record) -> Record:
    given = record.metadata or {}
    kept = {key: value for key, value in given.items() if value is not None and not _is_beyond(value)}
    return record if len(kept) == len(given) else record._replace(metadata=kept or None)


def _is_beyond(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _parts(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]

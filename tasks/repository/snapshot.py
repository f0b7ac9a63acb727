"""A snapshot: one captured state of one source. Sealed last: one that can be listed is whole."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Any

from tasks.errors import Damaged, NewerFormat
from tasks.item import Facts

FORMAT = 2
"""The newest that is read. 1: every item's stream lies as it is; 2: those of some items by columns."""

_MOST_LEVELS = 16
"""Of an item list: each names at least sixty times as much as the one below."""

CLOCKS_DIFFER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Flawed:
    """An item that the snapshot does not hold as it should. `path` is decoded for display (surrogate escapes);
    `allowed` by the source's `allow_incomplete`."""

    path: str
    what: str
    why: str
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a snapshot before it is taken. `roots` maps each top-level name to the path it came from."""

    id: str
    source: str
    kind: str
    run: str
    started: datetime
    plan: str = ""
    host: str = ""
    allow_incomplete: tuple[str, ...] = ()
    roots: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`format` is the least that a reader must know. `level` and `content` (hex) are the item list's (FORMAT.md,
    *Items*). `packs` (hex) are the new ones that this run stored, killed tries included; the snapshot may rely on older
    ones too. `figures`: `items`, `files`, `unchanged` (counts), `content_bytes` (all streams), `read_bytes`,
    `new_bytes` (chunks not known before), `stored_bytes` (what they take in packs), `seconds`. `flaws` holds the first
    thousand; `figures["flaws"]` counts all."""

    id: str
    source: str
    kind: str
    run: str
    plan: str
    host: str
    started: datetime
    finished: datetime
    complete: bool
    version: str
    level: int
    content: str
    roots: dict[str, str]
    flaws: tuple[Flawed, ...]
    packs: tuple[str, ...]
    facts: Facts
    figures: dict[str, float]
    format: int = 1

    def to_bytes(self) -> bytes:
        data = asdict(self)
        data["started"], data["finished"] = self.started.isoformat(), self.finished.isoformat()
        return json.dumps(data, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, name: str, payload: bytes) -> Snapshot:
        """Of the object of that name. Whoever writes may put there what he likes: what is none is damaged, and so is
        another's, whose proofs would count for it. Raises `Damaged`, `NewerFormat`."""
        try:
            data: dict[str, Any] = json.loads(payload)
            if data["format"] > FORMAT:
                raise NewerFormat(f"`{name}` has format {data['format']}; this version reads up to {FORMAT}")
            known = {each.name: data[each.name] for each in fields(cls)}
            known["started"] = datetime.fromisoformat(data["started"])
            known["finished"] = datetime.fromisoformat(data["finished"])
            known["packs"] = tuple(data["packs"])
            known["flaws"] = tuple(Flawed(**flaw) for flaw in data["flaws"])
            made = cls(**known)
            made._check(name.rpartition("/")[2])
            return made
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged(f"`{name}` can't be read as a snapshot: {error}") from error

    def _check(self, own: str) -> None:
        """Raises `ValueError`, `TypeError`."""
        if self.id != own:
            raise ValueError(f"it is that of `{self.id}`")
        if self.started.tzinfo is None or self.finished.tzinfo is None:
            raise ValueError("a time without a zone")
        for table in (self.roots, self.facts, self.figures):
            _check_is(table, dict)
        texts = (
            self.source,
            self.kind,
            self.run,
            self.plan,
            self.host,
            self.version,
            *self.roots,
            *self.roots.values(),
        )
        for each in (*texts, *(text for flaw in self.flaws for text in (flaw.path, flaw.what, flaw.why))):
            _check_is(each, str)
        for figure in (self.level, *self.figures.values()):
            _check_is(figure, int | float)
        _check_is(self.complete, bool)
        if not 0 <= self.level <= _MOST_LEVELS:
            raise ValueError("an impossible list of items")
        for hexadecimal in (self.content, *self.packs):
            bytes.fromhex(hexadecimal)


def _check_is(value: object, kind: type | UnionType) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} in the place of something else")


def is_ahead(started: datetime, now: datetime) -> bool:
    """Whether that was dated by a clock that was wrong: it is then never the newest, however long its time is to come.
    What is ahead by less soon is not."""
    return started > now + CLOCKS_DIFFER


def is_id(name: str) -> bool:
    """Whether `snapshot_id` may have given it: what else lies there, as what a sync tool or a desktop leaves behind, is
    no snapshot, and no damaged one either."""
    return re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", name) is not None


def snapshot_id(source: str, run: str, started: datetime) -> str:
    """The same for the same source and run, and sorted by time: so a task that runs twice seals one snapshot."""
    told_apart = hashlib.sha256(f"{run}\0{source}".encode()).hexdigest()[:8]
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{told_apart}"

"""Collections and their records, the same whether they come from a folder, a server or an export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from tasks.numbers import NDArray
    from tasks.numbers import numpy as np

BATCH = 1000
"""Records read, compared and sent together."""

_NUMBERS = 1 << 18

JsonObject = dict[str, Any]


class NotWhole(Exception):
    """What is read is not as Chroma leaves it; the text says what and where."""


def at_once(dimension: int | None) -> int:
    """How many records to ask for at once: a number of a vector takes some 150 bytes while JSON is read."""
    return max(1, min(BATCH, _NUMBERS // (dimension or 1)))


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection is, apart from its records. `configuration` and `schema` are Chroma's own; older versions have
    no schema."""

    tenant: str
    database: str
    name: str
    dimension: int | None = None
    metadata: JsonObject | None = None
    configuration: JsonObject | None = None
    schema: JsonObject | None = None

    @property
    def label(self) -> str:
        return f"{self.tenant}/{self.database}/{self.name}"

    @property
    def distance(self) -> str:
        """*l2*, *cosine* or *ip*: each version of Chroma says it in another place. What 0.5 and 0.6 write as
        `hnsw_configuration` says nothing: their index goes by the metadata alone."""
        places = (
            (self.schema, ("keys", "#embedding", "float_list", "vector_index", "config", "space")),
            (self.schema, ("defaults", "float_list", "vector_index", "config", "space")),
            (self.configuration, ("hnsw", "space")),
            (self.configuration, ("spann", "space")),
            (self.metadata, ("hnsw:space",)),
        )
        return next((space for where, path in places if (space := _at(where, path))), "l2")


def _at(where: Any, path: Iterable[str]) -> str:
    for name in path:
        where = where.get(name) if isinstance(where, Mapping) else None
    return where if isinstance(where, str) else ""


class Record(NamedTuple):
    """A record but for its vector. A record without metadata has None, never an empty object."""

    id: str
    document: str | None
    uri: str | None
    metadata: JsonObject | None


class Batch(NamedTuple):
    """Records, and their vectors as the rows of one float32 array, in the same order."""

    records: list[Record]
    vectors: NDArray[np.float32]

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]


class Records(Protocol):
    """A collection that can be read."""

    @property
    def about(self) -> Collection: ...

    def batches(self) -> Iterator[Batch]:
        """All records sorted by id, `BATCH` at a time. Raises `NotWhole`."""
        ...

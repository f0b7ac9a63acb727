"""What a running server holds, counted as a snapshot is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tasks.errors import Missing, NotFound
from tasks.item import Facts
from tasks.sources.chroma.answers import answered
from tasks.sources.chroma.facts import count
from tasks.sources.chroma.records import BATCH, Batch, Collection
from tasks.sources.chroma.server import Server, ServerCollection
from tasks.sources.chroma.settings import ChromaTarget


def server_facts(server: Server, tenants: Sequence[str], target: ChromaTarget) -> Facts:
    """Raises `NotFound` where what is asked for is not there, `Unavailable`."""
    facts: Facts = {}
    labels: list[str] = []
    records = 0
    wanted = target.as_ or (target.collection or "").rpartition("/")[2]
    for collection in _collections(server, tenants, target):
        if wanted and collection.about.name != wanted:
            continue
        about = collection.about
        if target.as_ and target.collection:
            about = replace(about, name=target.collection.rpartition("/")[2])
        counting = count(_Fetched(collection, about))
        facts |= {f"collection {about.label}": counting.facts()[f"collection {about.label}"]}
        facts[f"answers {about.label}"] = answered(collection, counting)
        labels.append(about.label)
        records += counting.records
    if wanted and not labels:
        raise NotFound(f"{server.shown} has no collection `{wanted}` there")
    return facts if wanted else facts | {"collections": sorted(labels), "records": records}


def _collections(server: Server, tenants: Sequence[str], target: ChromaTarget) -> Iterator[ServerCollection]:
    for tenant in (target.tenant,) if target.tenant else tenants:
        try:
            databases = (target.database,) if target.database else server.databases(tenant)
            for database in databases:
                yield from server.collections(tenant, database)
        except Missing:
            continue


class _Fetched:
    """`Records` straight from a server."""

    def __init__(self, collection: ServerCollection, about: Collection) -> None:
        self.about = about
        self._collection = collection

    def batches(self) -> Iterator[Batch]:
        from tasks.numbers import numpy as np

        ids = self._collection.ids()
        for start in range(0, len(ids), BATCH):
            found = sorted(self._collection.fetch(ids[start : start + BATCH]), key=lambda row: row[0].id)
            whole = [(record, vector) for record, vector in found if vector]
            if whole:
                vectors = np.frombuffer(b"".join(vector for _, vector in whole), "<f4").reshape(len(whole), -1)
                yield Batch([record for record, _ in whole], vectors)

"""Be a server's primary for a moment: the fastest way to fill an empty one, and exact to the last detail.

The server is told REPLICAOF this host, takes the stored RDB for its first synchronisation, and is told NO ONE again. It
wipes what the server holds, so only an empty one is filled so. Whatever happens meanwhile, NO ONE is said at the end.
"""

from __future__ import annotations

from tasks.item import Stored, StoredItems
from tasks.sources.redis_store.place import Place


class Refuses(Exception):
    """This server is not to be filled so."""


def load(items: StoredItems, dump: Stored, place: Place) -> None:
    raise Refuses

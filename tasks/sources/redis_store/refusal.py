"""What a server that is written to has against one key, in words that name it."""

from __future__ import annotations

from tasks.errors import TO_OVERWRITE, Occupied, Refused
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.text import shown
from tasks.sources.redis_store.walk import Key


def refusal(connection: Connection, error: ErrorReply, key: Key) -> Exception:
    """What the server has against one key, naming it."""
    place, says = connection.place.shown, str(error)
    named = f"`{shown(key.name)}` in database {key.database}"
    if key.kind < 0 and "cluster mode" in says:
        return Refused(
            f"the snapshot has keys in database {key.database}, and the cluster of {place} has database 0 only: choose"
            " one and restore it into 0"
        )
    if key.kind < 0:
        return Refused(
            f"{place} has no database {key.database}: {says}; raise its `databases` (`cluster-databases` in a cluster"
            " of Valkey), or choose another one"
        )
    if error.code in ("BUSYKEY", "EXISTS"):
        return Occupied(f"{place} has the key {named} already; choose keys, or {TO_OVERWRITE}")
    if "payload" in says or "Bad data format" in says:
        if key.kind == rdb.MODULE:
            return Refused(
                f"{place} can't take the key {named}, a value of a module ({says}): load the module that it is of (for"
                " a vector set: restore into Redis 8 or newer), or leave the key out by patterns"
            )
        kind, least = rdb.KINDS.get(key.kind, "unknown type"), _keepers(key.kind)
        return Refused(
            f"{place} can't take the key {named}, a {kind} as {least} on keep it ({says}): restore into one, or leave"
            " the key out by patterns"
        )
    if error.code in ("READONLY", "MOVED", "ASK") or "non local key" in says:
        return Refused(f"{place} takes no writes for the key {named}: {says}; restore into its primary")
    return connection.translated(error, f"restoring the key {named}")


def _keepers(kind: int) -> str:
    """The oldest servers that have a type. A hash whose fields expire is one thing in Redis and another in Valkey."""
    if kind == rdb.HASH_TTL_VALKEY:
        return "servers of Valkey from version 9"
    needs = {6: "2.6", 7: "3.2", 9: "5.0", 10: "7.0", 11: "7.2"}
    version = needs.get(rdb.least_version(kind, 12))
    return f"servers from version {version}" if version else "servers of Redis from version 7.4"

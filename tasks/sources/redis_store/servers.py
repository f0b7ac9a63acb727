"""Which servers a place stands for: what sentinels know of it, and the primaries of a cluster."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import NamedTuple

from tasks.errors import BackupError, Refused, SourceError, Unavailable
from tasks.sources.redis_store.connection import Connection
from tasks.sources.redis_store.info import info
from tasks.sources.redis_store.place import Place

_SLOTS = 16384


class Shard(NamedTuple):
    """A server and its stretches of slots, first and last; all of them where there is no cluster."""

    place: Place
    slots: tuple[tuple[int, int], ...] = ((0, _SLOTS - 1),)


def slot(name: bytes) -> int:
    """Of a key, by what is in its first braces if anything is."""
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    return crc_hqx(name[start + 1 : end] if start >= 0 and end > start + 1 else name, 0) % _SLOTS


def beside(name: bytes, token: str) -> bytes:
    """A passing name in the same slot."""
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    tag = name[start + 1 : end] if start >= 0 and end > start + 1 else name
    return b"geometra-restore:" + token.encode() + b"{" + tag + b"}"


def resolved(place: Place, *, writing: bool = False) -> Place:
    """The server itself, where sentinels are named: for reading a replica, if one is in sync. Raises `Unavailable`."""
    if not place.sentinels:
        return place
    said: list[str] = []
    for host, port in place.sentinels:
        sentinel = Place(host=host, port=port, password=place.sentinel_password, tls=place.tls)
        try:
            with Connection(sentinel) as connection:
                if not writing and (found := _replica(connection, place.master)):
                    return place.at(*found)
                address = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.master)
        except BackupError as error:
            said.append(str(error))
            continue
        if address:
            return place.at(address[0].decode(), int(address[1]))
        said.append(f"{sentinel.shown} watches no master named `{place.master}`")
    raise Unavailable(f"no sentinel tells where `{place.master}` is: {'; '.join(said)}")


def _replica(connection: Connection, master: str) -> tuple[str, int] | None:
    for flat in connection.ask("SENTINEL", "REPLICAS", master) if _watches(connection, master) else ():
        known = dict(zip(flat[::2], flat[1::2], strict=True))
        if known.get(b"flags") == b"slave" and known.get(b"master-link-status") == b"ok":
            return known[b"ip"].decode(), int(known[b"port"])
    return None


def _watches(connection: Connection, master: str) -> bool:
    return bool(connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master))


def mode(connection: Connection) -> str:
    """`standalone`, `cluster` or `sentinel`. Where INFO may not be asked, HELLO tells: no right is needed for that."""
    if enabled := info(connection, "cluster").get("cluster_enabled"):
        return "cluster" if enabled == "1" else "standalone"
    if said := info(connection, "server").get("redis_mode"):
        return said
    reply = connection.ask_all([("HELLO", "2")])[0]
    known = dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else {}
    return str(known.get(b"mode", b"standalone"), "ascii")


def moving(found: Sequence[Shard]) -> set[bytes]:
    """The slots that are on their way from one of these servers to another, as far as they may be asked."""
    slots: set[bytes] = set()
    for shard in found:
        with Connection(shard.place) as connection:
            said = connection.ask_all([("CLUSTER", "NODES")])[0]
        lines = [line.split() for line in said.splitlines()] if isinstance(said, bytes) else []
        slots |= {word for line in lines if b"myself" in line[2] for word in line[8:] if word.startswith(b"[")}
    return slots


def shards(connection: Connection) -> list[Shard]:
    """The primaries of the cluster that this server belongs to, by their first slot; or this server alone. Raises
    `Unavailable` where slots are served by nobody, `SourceError` for a Sentinel, `Refused`."""
    place, kind = connection.place, mode(connection)
    if kind == "sentinel":
        raise SourceError(
            f"{place.shown} is a Sentinel, which holds no keys: write `redis+sentinel://host:port/name`, with the name"
            " of the master"
        )
    if kind != "cluster":
        return [Shard(place)]
    by_address: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for first, last, primary, *_ in connection.ask("CLUSTER", "SLOTS"):
        host = primary[0].decode() if primary[0] else place.host
        by_address.setdefault((host or place.host, primary[1]), []).append((first, last))
    if sum(last - first + 1 for slots in by_address.values() for first, last in slots) != _SLOTS:
        raise Unavailable(f"the cluster of {place.shown} does not serve all its slots: `CLUSTER INFO` says more")
    found = [Shard(place.at(*address), tuple(sorted(slots))) for address, slots in by_address.items()]
    return sorted(found, key=lambda shard: shard.slots)


def keeps_all(connection: Connection) -> bool:
    """Whether it is known that it evicts no keys."""
    policy = info(connection, "memory")
    return "maxmemory_policy" in policy and not _evicts(policy)


def _evicts(memory: dict[str, str]) -> bool:
    return memory.get("maxmemory", "0") != "0" and memory.get("maxmemory_policy", "noeviction") != "noeviction"


def target_warnings(connection: Connection) -> list[str]:
    """For a server that is to be written to: a line for what would undo it later. Raises `Refused` where it takes no
    writes."""
    said = info(connection, "replication")
    lines: list[str] = []
    if said.get("role") == "slave":
        primary = f"{said.get('master_host')}:{said.get('master_port')}"
        if said.get("slave_read_only") == "1":
            raise Refused(
                f"{connection.place.shown} is a replica and takes no writes: restore into its primary {primary}"
            )
        lines.append(
            f"{connection.place.shown} is a replica: the next full synchronisation with {primary} replaces what was"
            " restored; restore into the primary, or make this one its own with REPLICAOF NO ONE"
        )
    policy = info(connection, "memory")
    if _evicts(policy):
        lines.append(
            f"{connection.place.shown} evicts keys ({policy['maxmemory_policy']}) beyond {policy['maxmemory']} bytes:"
            " what was restored may go at once"
        )
    return lines

"""What a server says of itself and of what it holds, as far as this user may ask."""

from __future__ import annotations

from tasks.sources.redis_store.connection import Connection, ErrorReply


def info(connection: Connection, section: str) -> dict[str, str]:
    """What INFO says. Empty where it may not be asked."""
    try:
        said: bytes = connection.call("INFO", section)
    except ErrorReply as error:
        if error.is_forbidden:
            return {}
        raise connection.translated(error, "INFO") from error
    lines = said.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def time_of(connection: Connection) -> int:
    """The server's, in milliseconds since 1970."""
    seconds, microseconds = connection.ask("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000


def has_lost_its_primary(connection: Connection) -> bool:
    """Whether it is a replica that holds what its primary once held, or nothing."""
    said = info(connection, "replication")
    return said.get("role") == "slave" and said.get("master_link_status") == "down"


def databases(connection: Connection) -> list[int]:
    """Those that hold keys. Where INFO may not be asked, each is tried."""
    found = info(connection, "keyspace")
    if found or info(connection, "server"):
        return sorted(int(name[2:]) for name in found if name.startswith("db"))
    held: list[int] = []
    number = 0
    try:
        while connection.call("SELECT", number) == b"OK":
            if connection.ask("DBSIZE"):
                held.append(number)
            number += 1
    except ErrorReply as error:
        if error.is_forbidden and error.code == "NOPERM":
            raise connection.translated(error, "SELECT") from error
    return held

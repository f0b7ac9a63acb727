"""Users with their rights, as ACL LIST tells them and an `aclfile` holds them: passwords are digests."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.errors import Damaged
from tasks.item import Stored, StoredItems
from tasks.sources.redis_store.connection import Connection, ErrorReply

_LARGEST = 64 << 20


def restore_users(connection: Connection, items: StoredItems, item: Stored) -> list[str]:
    """Every user but the one that restores, who would change what it may while at it; kept over a restart where the
    server has a file for that. Returns a line for what was not restored. Raises `Refused`."""
    me: bytes = connection.ask("ACL", "WHOAMI")
    lines: list[str] = []
    for name, rules in _users(items, item):
        named = name.decode("utf-8", "backslashreplace")
        if name == me:
            lines.append(f"the user `{named}` was left as it is, as it restores")
            continue
        try:
            connection.call("ACL", "SETUSER", name, "reset", *rules.split(b" "))
        except ErrorReply as error:
            if error.is_forbidden:
                raise connection.translated(error, "ACL SETUSER") from error
            # Never the server's words: they may repeat a password's digest.
            lines.append(f"the user `{named}` was not restored: this server does not know one of its rules")
    if isinstance(connection.ask_all([("ACL", "SAVE")])[0], ErrorReply):
        lines.append(
            f"{connection.place.shown} has no `aclfile`, or can't write it: its users are gone when it is restarted;"
            " CONFIG REWRITE keeps them"
        )
    return lines


def others_than_default(items: StoredItems, item: Stored) -> list[str]:
    """The names of the users that somebody made."""
    return [name.decode("utf-8", "backslashreplace") for name, _ in _users(items, item) if name != b"default"]


def _users(items: StoredItems, item: Stored) -> Iterator[tuple[bytes, bytes]]:
    """Each with its rules."""
    for line in _content(items, item).splitlines():
        word, _, rest = line.partition(b" ")
        name, _, rules = rest.partition(b" ")
        if word != b"user" or not name:
            raise Damaged("`users.acl` in the snapshot holds a line that is no user")
        yield name, rules


def _content(items: StoredItems, item: Stored) -> bytes:
    stream, made = items.open(item), bytearray()
    buffer = memoryview(bytearray(1 << 16))
    try:
        while count := stream.readinto(buffer):
            made += buffer[:count]
            if len(made) > _LARGEST:
                raise Damaged("`users.acl` in the snapshot is too large to be one")
    finally:
        stream.close()
    return bytes(made)

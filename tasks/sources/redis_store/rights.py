"""What a user may do, asked for before the night; and tried, where it may not even ask."""

from __future__ import annotations

from tasks.sources.redis_store.connection import Connection, ErrorReply

NEEDED = ("SCAN", "DUMP", "PTTL", "MEMORY", "TYPE", "MULTI", "SELECT", "TIME")
"""Commands without which a scan can't be."""
_TRIALS = {
    "SCAN": ("SCAN", "0"),
    "DUMP": ("DUMP", "k"),
    "PTTL": ("PTTL", "k"),
    "MEMORY": ("MEMORY", "USAGE", "k"),
    "TYPE": ("TYPE", "k"),
    "SELECT": ("SELECT", "0"),
    "TIME": ("TIME",),
    "EXEC": ("EXEC",),
    "MULTI": ("MULTI",),
}
"""Each changes nothing where it is not only asked for: EXEC stands alone, and before MULTI, which it is to end."""


def hides_rights(connection: Connection) -> bool:
    """Whether this user may not ask what it may."""
    user = connection.ask_all([("ACL", "WHOAMI")])[0]
    tried = connection.ask_all([("ACL", "DRYRUN", user, "PING")])[0] if isinstance(user, bytes) else user
    return isinstance(tried, ErrorReply) and tried.code == "NOPERM"


def missing_rights(connection: Connection) -> list[str]:
    """Commands that a scan needs and this user or server does not have, as far as the server tells."""
    known, user = connection.ask_all([("COMMAND", "INFO", *NEEDED), ("ACL", "WHOAMI")])
    missing = [] if isinstance(known, ErrorReply) else [n for n, has in zip(NEEDED, known, strict=True) if has is None]
    for name, command in _TRIALS.items():
        dry = connection.ask_all([("ACL", "DRYRUN", user, *command)])[0] if isinstance(user, bytes) else user
        if isinstance(dry, bytes):
            may = dry == b"OK"
        elif isinstance(dry, ErrorReply) and dry.code == "NOPERM" and not (name == "MULTI" and "EXEC" in missing):
            tried = connection.ask_all([command, ("EXEC",)] if name == "MULTI" else [command])[0]
            may = not (isinstance(tried, ErrorReply) and "NOPERM " in str(tried) and " run " in str(tried))
        else:
            may = True  # a server of before, which only the night can tell of
        if not may:
            missing.append(name)
    return list(dict.fromkeys(missing))

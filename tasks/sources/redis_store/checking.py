"""What would go wrong tonight, found by asking: nothing is changed, and no snapshot is started."""

from __future__ import annotations

from tasks.errors import BackupError, Refused, SettingsError
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.info import has_lost_its_primary, info
from tasks.sources.redis_store.place import Place
from tasks.sources.redis_store.rights import hides_rights, missing_rights
from tasks.sources.redis_store.servers import resolved, shards
from tasks.sources.redis_store.snapshot import forbids_snapshots
from tasks.sources.source import Problem


def problems(place: Place, method: str, *, users: bool) -> list[Problem]:
    """Of one server, or of every primary of a cluster."""
    try:
        with Connection(resolved(place)) as connection:
            found = shards(connection)
            said = _of_users(connection) if users else []
        for shard in found:
            with Connection(shard.place) as connection:
                said += _of_server(connection, method)
    except BackupError as error:
        return [Problem(str(error), _advice(error))]
    return said


def _advice(error: BackupError) -> str:
    if isinstance(error, SettingsError):
        return "mend the source in backup.toml"
    if isinstance(error, Refused):
        return "give the source the right `username` and `password`, and that user the rights"
    return "start the server, or mend the source's `url`; from this host it must be reachable"


def _of_server(connection: Connection, method: str) -> list[Problem]:
    place, said = connection.place.shown, list[Problem]()
    scans = method == "scan"
    if not scans and (why := forbids_snapshots(connection)):
        if method == "snapshot":
            return [Problem(f"{place} gives no snapshot: {why}", 'grant +sync +replconf, or choose `method = "auto"`')]
        advice = 'grant +sync +replconf; or choose `method = "scan"`, if each key for itself is enough'
        said.append(Problem(f"{place} will be scanned, which is no point in time: {why}", advice, fatal=False))
        scans = True
    elif not scans and hides_rights(connection):
        what = f"{place} does not tell whether this user may take a snapshot, which needs +sync"
        advice = "grant +acl|whoami +acl|dryrun, so that this can see it, or see whether `run` takes one"
        said.append(Problem(what, advice, fatal=False))
    if scans and (missing := missing_rights(connection)):
        rights = " ".join(f"+{name.lower()}" for name in missing)
        return [
            *said,
            Problem(f"{place} does not let this user scan: {', '.join(missing)}", f"ACL SETUSER ... {rights}"),
        ]
    functions = connection.ask_all([("FUNCTION", "DUMP")])[0] if scans else None
    if isinstance(functions, ErrorReply) and functions.code == "NOPERM":
        what = f"{place} does not let this user read its functions, so that every snapshot is incomplete"
        said.append(Problem(what, "ACL SETUSER ... +function|dump"))
    if has_lost_its_primary(connection):
        advice = "mend the replication, or name the primary"
        said.append(Problem(f"{place} is a replica that is not in touch with its primary: it is not captured", advice))
    if not scans and info(connection, "persistence").get("rdb_last_bgsave_status") == "err":
        advice = "its log says why: often no room in its `dir`, or no memory to fork (vm.overcommit_memory)"
        said.append(Problem(f"{place} failed at its last snapshot", advice, fatal=False))
    return said


def _of_users(connection: Connection) -> list[Problem]:
    reply = connection.ask_all([("ACL", "LIST")])[0]
    if isinstance(reply, ErrorReply) and reply.code == "NOPERM":
        what = f"{connection.place.shown} does not show its users, so they are not kept"
        return [Problem(what, "grant +acl|list, or set `users = false`", fatal=False)]
    return []

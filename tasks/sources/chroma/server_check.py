"""What would go wrong with a server tonight, found without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import BackupError, Missing, Refused, SettingsError, Unavailable
from tasks.sources.chroma.folder_check import room_problems
from tasks.sources.chroma.server import Access, Server
from tasks.sources.source import Problem

_TEXT_BYTES = 2048
"""What a record has beside its vector, roughly."""


def server_problems(access: Access, tenants: Sequence[str], scratch: Path) -> Iterator[Problem]:
    """`scratch` is where the largest collection is going to lie, twice."""
    try:
        with Server(access) as server:
            server.version()
            largest = 0
            for tenant in tenants:
                try:
                    databases = server.databases(tenant)
                except Missing:
                    yield Problem(f"{server.shown} has no tenant `{tenant}`", "mend `tenants` in backup.toml")
                    continue
                for database in databases:
                    for each in server.collections(tenant, database):
                        size = each.count() * (4 * (each.about.dimension or 0) + _TEXT_BYTES)
                        largest = max(largest, size)
        yield from room_problems(scratch, 2 * largest)
    except Unavailable as error:
        yield Problem(str(error), "start it, or mend `url` in backup.toml")
    except Refused as error:
        yield Problem(str(error), "set `token` to a reference of what the server wants")
    except SettingsError as error:
        yield Problem(str(error), "mend `url` and `token` in backup.toml, or set that variable or file for the workers")
    except BackupError as error:
        yield Problem(str(error), "mend `url` in backup.toml")

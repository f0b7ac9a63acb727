"""The client programs of PostgreSQL: which of those installed suits a server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks.errors import SourceError

_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/opt/libpq/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/opt/libpq/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one major version, in one folder."""

    folder: Path
    major: int
    version: str

    def path(self, name: str) -> str:
        return str(self.folder / name)


def installed() -> Iterator[Path]:
    """The folders that hold a `pg_dump`, the newest version first, the one on PATH last."""
    root = Path("/")
    folders = [folder for place in _PLACES for folder in root.glob(place.removeprefix("/"))]
    folders.sort(key=lambda folder: [int(number) for number in re.findall(r"\d+", str(folder))], reverse=True)
    if on_path := shutil.which("pg_dump"):
        folders.append(Path(on_path).parent)
    for folder in dict.fromkeys(folders):
        if os.access(folder / "pg_dump", os.X_OK):
            yield folder


def programs_for(server: int, folder: Path | None = None) -> Programs:
    """The installed programs that suit a server of that major version: the same version, else the next newer one; an
    older `pg_dump` refuses. With `folder`, those there and no others. Raises `SourceError` naming the package."""
    found = [known for place in ([folder] if folder else installed()) if (known := _look(place))]
    suitable = sorted((each for each in found if each.major >= server), key=lambda each: each.major)
    if suitable:
        return suitable[0]
    there = ", ".join(sorted({str(each.major) for each in found}, key=int))
    where = f"in `{folder}`" if folder else "on this host"
    has = f"{where} there is only that of version {there}" if there else f"there is none {where}"
    raise SourceError(
        f"a server of version {server} needs the `pg_dump` of PostgreSQL {server} or newer, and {has}; install the"
        f" package `postgresql-client-{server}` (of Debian or Ubuntu, else of apt.postgresql.org) where this source is"
        " backed up or restored"
    )


@cache
def _look(folder: Path) -> Programs | None:
    """None where a program is missing, or can't be run."""
    if not all(os.access(folder / name, os.X_OK) for name in ("pg_dump", "pg_dumpall", "pg_restore", "psql")):
        return None
    try:
        said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(said.stdout)
    return Programs(folder, int(match[1]), said.stdout.strip()) if match else None

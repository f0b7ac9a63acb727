"""A folder as a server for a while, by the operator's own Chroma: the only program that should write there."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import BackupError, Occupied, Refused, SettingsError, Unavailable
from tasks.sources.chroma.server import Access, Server
from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.kept_server import free_port, kept

SCHEME = "chroma://"
_START_SECONDS = 60.0


@contextmanager
def served(path: Path) -> Iterator[Access]:
    """Raises `SettingsError` where no Chroma is installed, `Occupied` where a process has the folder open, `Refused`
    where Chroma does not open it."""
    program = find_chroma(f"restoring into the folder `{path}`")
    if user := user_of(path / DATABASE):
        raise Occupied(f"process {user} has `{path / DATABASE}` open: stop it, or restore into its server's URL")
    path.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program, "run", "--path", str(path), "--host", "127.0.0.1", "--port", str(port)]
    with kept(command, environment={"ANONYMIZED_TELEMETRY": "False"}):
        access = Access(f"http://127.0.0.1:{port}")
        _wait(access, path)
        yield access


def find_chroma(what: str = "a drill of Chroma") -> str:
    """The program beside this Python, else on the PATH. Raises `SettingsError`."""
    program = shutil.which("chroma", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise SettingsError(
            f"{what} needs the program `chroma` here: `pip install chromadb`, or restore into the URL of a server"
        )
    return program


def _wait(access: Access, path: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with Server(access) as server:
                server.version()
            return
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise Refused(f"`chroma run --path {path}` does not answer; start it by hand to see why") from error
        except BackupError as error:
            raise Refused(f"`chroma run --path {path}` can't be used: {error}") from error
        time.sleep(0.1)


def user_of(database: Path) -> int:
    """A process that has the folder's database open, as far as this user may see; else 0."""
    if not database.exists():
        return 0
    wanted = str(database.resolve())
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for each in folder.iterdir():
                with suppress(OSError):
                    if os.readlink(each) == wanted:
                        return int(folder.parent.name)
    return 0

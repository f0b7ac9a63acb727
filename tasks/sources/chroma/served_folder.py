"""A folder as a server for a while, by the operator's own Chroma: the only program that should write there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import BackupError, Occupied, Refused, SettingsError, Unavailable
from tasks.file_lock import is_mine
from tasks.scratch import scratch_folder
from tasks.sources.chroma.server import Access, Server
from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.kept_server import free_port, kept, wait_until
from tasks.sources.target_path import OPEN_FOLDER, make_top, translated

SCHEME = "chroma://"
_START_SECONDS = 60.0


@contextmanager
def served(path: Path, scratch: Path) -> Iterator[Access]:
    """Raises `SettingsError` where no Chroma is installed, `Occupied` where a process has the folder open, `Refused`
    where Chroma does not open it. `scratch`: below which its log is, meanwhile."""
    program = find_chroma(f"restoring into the folder `{path}`")
    with _alone(path), free_port() as port, scratch_folder(scratch) as beside:
        if user := user_of(path / DATABASE):
            raise Occupied(f"process {user} has `{path / DATABASE}` open: stop it, or restore into its server's URL")
        command = [program, "run", "--path", str(path.absolute()), "--host", "127.0.0.1", "--port", str(port)]
        access, what, log = Access(f"http://127.0.0.1:{port}"), f"`chroma run --path {path}`", beside / "log"
        with kept(command, environment={"ANONYMIZED_TELEMETRY": "False"}, log=log) as child:
            wait_until(lambda: _answers(access, what), child, what, seconds=_START_SECONDS, log=log)
            yield access


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The folder, made if need be, is no other restore's meanwhile: what two Chromas wrote would be damaged."""
    try:
        make_top(path)
        folder = os.open(path, OPEN_FOLDER)
    except OSError as error:
        raise translated(error, os.fsencode(path)) from error
    try:
        with suppress(OSError):  # of a share that has no locks nobody takes one
            if not is_mine(folder):
                raise Occupied(f"another restore is writing to `{path}`: let it end first")
        yield
    finally:
        os.close(folder)


def find_chroma(what: str = "a drill of Chroma") -> str:
    """The program beside this Python, else on the PATH. Raises `SettingsError`."""
    program = shutil.which("chroma", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise SettingsError(
            f"{what} needs the program `chroma` here: `pip install chromadb`, or restore into the URL of a server"
        )
    return program


def _answers(access: Access, what: str) -> bool:
    try:
        with Server(access) as server:
            server.version()
    except Unavailable:
        return False
    except BackupError as error:
        raise Refused(f"{what} can't be used: {error}") from error
    return True


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

"""An environment of our own: `.venv` beside pyproject.toml, holding exactly what a lock file lists.

Runs before anything is installed, so standard library only: `python -I bootstrap.py LOCK PROGRAM [ARGUMENT ...]` makes
the environment if it must, then becomes that program of it. Must not know what the program does.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

LOCKS = ("requirements.lock", "requirements-test.lock")
"""Each holds all of the one before, in the same versions."""

_PREPARING = "preparing.lock"
"""Held while the environment is looked at or changed. That it exists is also what tells our folder from another's."""
_IN_USE = "in-use.lock"
"""Shared by every program that was started from here, for as long as it runs."""
_READY = "ready.json"
"""Written last: without it the environment is half made."""
_LOG = "install.log"


class CannotPrepare(Exception):
    """One line for a person: what is missing, and what to do."""


class Environment:
    """The folder of one environment, for the Python that runs this."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._python = folder / "bin" / "python"
        # Inside a virtual environment, the Python that it was made from: our own may be the one to be replaced.
        self._maker = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)

    def become(self, lock: str, program: str, arguments: list[str]) -> NoReturn:
        """Prepare what `lock` lists, then replace this process by `program`. Raises `CannotPrepare`."""
        try:
            self._claim()
            with self._preparing() as preparing:
                if not self._holds(lock):
                    self._prepare(lock, preparing)
                in_use = os.open(self._folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(in_use, fcntl.LOCK_SH)
                os.set_inheritable(in_use, True)
            # Each process would compile all that it imports anew, two seconds of it: this environment is our own.
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            os.execv(self._python, [str(self._python), str(self._folder / "bin" / program), *arguments])
        except OSError as error:
            where = error.filename or self._folder
            raise CannotPrepare(
                f"can't use the environment `{self._folder}`: {error.strerror} (`{where}`); "
                "set GEOMETRA_BACKUP_VENV to a folder that you may write"
            ) from error

    def _claim(self) -> None:
        """Never touch a folder that something else has filled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # In this order: another first start may fill it right now, and its first file is the one that tells.
        if any(self._folder.iterdir()) and not (self._folder / _PREPARING).exists():
            raise CannotPrepare(
                f"`{self._folder}` holds something that this program did not put there; "
                "move it away, or set GEOMETRA_BACKUP_VENV to another folder"
            )

    @contextmanager
    def _preparing(self) -> Iterator[int]:
        lock = os.open(self._folder / _PREPARING, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say(f"Waiting for another process that prepares {self._folder} ...\n")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)

    def _identity(self) -> str:
        """Everything that makes an environment another one; it can't be moved, hence the folders."""
        with open(self._root / "pyproject.toml", "rb") as file:
            pyproject = tomllib.load(file)
        parts = [sys.version, self._maker, str(self._root), str(self._folder)]
        parts += [(self._root / lock).read_text(encoding="utf-8") for lock in LOCKS]
        parts += [json.dumps(pyproject.get(table), sort_keys=True) for table in ("build-system", "project")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _ready(self) -> dict[str, Any]:
        """What the environment was made as; empty if it is half made, or was made as something else."""
        ready = self._written()
        return ready if ready.get("identity") == self._identity() and self._python.exists() else {}

    def _written(self) -> dict[str, Any]:
        try:
            written: dict[str, Any] = json.loads((self._folder / _READY).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return written

    def _holds(self, lock: str) -> bool:
        ready = self._ready()
        return bool(ready) and LOCKS.index(ready["lock"]) >= LOCKS.index(lock)

    def _prepare(self, lock: str, preparing: int) -> None:
        afresh = not self._ready()
        if afresh:
            self._refuse_in_use()
            self._refuse_another_clones()
        with_pip = self._with_pip()
        started = time.monotonic()
        _say(f"Preparing {_short(self._folder)} (once, about a minute) ...")
        try:
            (self._folder / _READY).unlink(missing_ok=True)
            with open(self._folder / _LOG, "wb") as log:
                steps = _Steps(log, preparing)
                if afresh:
                    self._clear()
                    steps.run(
                        self._maker, "-I", "-m", "venv", *([] if with_pip else ["--without-pip"]), str(self._folder)
                    )
                pip = [str(self._python), "-I", "-m", "pip"]
                if not with_pip:
                    pip = [self._maker, "-I", "-m", "pip", "--python", str(self._python)]
                install = [*pip, "install", "--no-input", "--disable-pip-version-check", "--no-compile"]
                # Wheels only: what builds a source distribution would come unlocked.
                steps.run(*install, "--only-binary=:all:", "--require-hashes", f"--requirement={self._root / lock}")
                steps.run(*install, "--no-deps", "--no-build-isolation", f"--editable={self._root}")
            self._mark_ready(lock)
        except subprocess.CalledProcessError as error:
            _say(" failed.\n")
            raise CannotPrepare(self._why(error)) from error
        except BaseException:
            _say(" stopped.\n")
            raise
        _say(f" done in {time.monotonic() - started:.0f} s.\n")

    def _refuse_in_use(self) -> None:
        """An environment must not vanish under a running night."""
        in_use = os.open(self._folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotPrepare(
                f"`{self._folder}` must be made anew (another Python, lock file or folder), but a program still runs "
                "in it; let that end first, or set GEOMETRA_BACKUP_VENV to another folder"
            ) from None
        finally:
            os.close(in_use)

    def _refuse_another_clones(self) -> None:
        """Reached by a link or by GEOMETRA_BACKUP_VENV: what runs in it need not hold our lock, as its workers do not,
        and would run this clone's code from then on. One whose clone is gone, or was moved, is nobody's."""
        clone = self._written().get("root")
        if clone and clone != str(self._root) and (Path(clone) / LOCKS[0]).exists():
            raise CannotPrepare(
                f"`{self._folder}` is the environment of the clone `{clone}`; set GEOMETRA_BACKUP_VENV to another "
                f"folder, or remove the link to it, or `{self._folder / _READY}` once nothing runs in it"
            )

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name not in (_PREPARING, _IN_USE, _LOG):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _with_pip(self) -> bool:
        """Whether the environment gets a pip of its own; if not, this Python's pip installs into it."""
        there = {name for name in ("venv", "ensurepip", "pip") if importlib.util.find_spec(name)}
        if there >= {"venv", "ensurepip"}:
            return True
        if there >= {"venv", "pip"}:
            return False
        raise CannotPrepare(
            f"this Python ({self._maker}) has neither ensurepip nor pip; on Debian and Ubuntu: "
            "apt-get install python3-venv, then run this again"
        )

    def _mark_ready(self, lock: str) -> None:
        made = {"identity": self._identity(), "lock": lock, "root": str(self._root)}
        new = self._folder / f"{_READY}.new"
        new.write_text(json.dumps(made), encoding="utf-8")
        new.replace(self._folder / _READY)

    def _why(self, error: subprocess.CalledProcessError) -> str:
        path = self._folder / _LOG
        log = path.read_text(encoding="utf-8", errors="replace")
        unreachable = re.findall(r"connection broken by '(\w+)", log)
        if unreachable:
            return (
                f"the packages of the lock file can't be fetched ({unreachable[-1]}): check the network, the proxy and "
                f"pip's index settings, then run this again; pip's own words are in {path}"
            )
        tail = "\n".join(f"    {line}" for line in log.splitlines()[-12:])
        return f"the environment can't be made (exit code {error.returncode}); the end of {path}:\n{tail}"


class _Steps(NamedTuple):
    """Commands one after the other, all that they say in one log."""

    log: BinaryIO
    held: int
    """A lock that they hold as well: should this process be killed, nobody else starts before they have ended."""

    def run(self, *command: str) -> None:
        self.log.write(f"$ {' '.join(command)}\n".encode())
        self.log.flush()
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            pass_fds=(self.held,),
            env=os.environ | {"PIP_USER": "0"},
        )


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _say(text: str) -> None:
    """To standard error: standard output belongs to the program that follows."""
    sys.stderr.write(text)
    sys.stderr.flush()


def main() -> NoReturn:
    lock, program, *arguments = sys.argv[1:]
    root = Path(__file__).resolve().parent.parent
    # Where a link leads, as to a larger disk: `venv` makes no environment at a link.
    folder = Path(os.environ.get("GEOMETRA_BACKUP_VENV") or root / ".venv").expanduser().resolve()
    try:
        Environment(root, folder).become(lock, program, arguments)
    except CannotPrepare as error:
        sys.exit(f"geometra-backup: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

"""The command line as a person has it: `geometra-backup` in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@contextmanager
def short_folder() -> Iterator[Path]:
    """For scratch servers: a socket's path is short, and PostgreSQL is another user where the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="gbt-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Terminal:
    """Runs `geometra-backup` in a folder of its own, with the embedded broker and nobody to ask."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self, *arguments: str | Path, code: int | None = 0, prefix: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`code` is what it ends with; None, any but 0."""
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "workers.cli.main", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        as_told = done.returncode != 0 if code is None else done.returncode == code
        assert as_told, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def json(self, *arguments: str | Path, code: int | None = 0, prefix: Sequence[str] = (), **environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code, prefix=prefix, **environment).stdout)

    def complaint(self, *arguments: str | Path, code: int, **environment: str) -> str:
        """The one line that a failure is."""
        said = self.run(*arguments, code=code, **environment).stderr.strip()
        assert said.startswith("geometra-backup: ")
        assert len(said.splitlines()) == 1, said
        return said

    def edit(self, old: str, new: str) -> None:
        file = self.folder / "backup.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

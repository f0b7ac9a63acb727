"""This product as a competitor: the whole command, and the engine alone."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.competitors import Competitor
from tests.benchmarks.measure import Cost

_PROJECT = Path(__file__).parents[2]


class Engine(Competitor):
    """`Repository.save`, `read` and `check` in a child process, and the source that captures and restores."""

    name = "engine"

    @classmethod
    def missing(cls) -> str:
        """Both are this project's own: where they can't be imported, that is an error of the run and no excuse."""
        return ""

    @classmethod
    def version(cls) -> str:
        try:
            return f"geometra-backup {version('geometra-backup')}"
        except PackageNotFoundError:
            return "geometra-backup (this folder)"

    def create(self) -> None:
        super().create()
        self.environment["PYTHONPATH"] = str(_PROJECT)
        self._engine("create", self.corpus)

    def save(self) -> Cost:
        return self._engine("save", self.corpus)

    def restore(self, into: Path) -> Cost:
        return self._engine("restore", into)

    def restored(self, into: Path) -> Path:
        return into / self.corpus.name

    def read_all(self) -> Cost:
        return self._engine("read", self.corpus)

    def _engine(self, verb: str, folder: Path) -> Cost:
        return self.run(sys.executable, "-m", "tests.benchmarks.engine", verb, self.place, self.kind, folder)


class Command(Engine):
    """`geometra-backup` as a person types it, with nothing installed beside it: each `run` starts a broker and a
    worker and is a whole night of its source, so it also uploads, reads back all it has stored, and prunes."""

    name = "geometra-backup"
    proves = True

    @classmethod
    def missing(cls) -> str:
        return "" if find_spec("workers.cli.main") else "the command line is not there"

    def create(self) -> None:
        super().create()
        (self.place / "passphrase").write_text("a benchmark's passphrase")
        (self.place / "passphrase").chmod(0o600)
        settings: dict[str, dict[str, object]] = {
            "state": {"state": str(self.place / "state")},
            "keys": {"folder": str(self.place / "keys"), "passphrase": f"file:{self.place / 'passphrase'}"},
            "destinations.local": {"kind": "local", "path": str(self.repository)},
            "sources.corpus": {"kind": self.kind, "paths": [str(self.corpus)]},
        }
        lines: list[str] = []
        for table, options in settings.items():
            lines += [] if table == "state" else [f"[{table}]"]
            lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
        (self.place / "backup.toml").write_text("\n".join(lines) + "\n")

    def save(self) -> Cost:
        return self._command("run")

    def restore(self, into: Path) -> Cost:
        return self._command("restore", "corpus", "--to", into)

    def read_all(self) -> Cost:
        return self._command("verify", "corpus", "--everything")

    def _command(self, *arguments: str | Path) -> Cost:
        script = Path(sys.executable).with_name("geometra-backup")
        start = [script] if script.exists() else [sys.executable, "-m", "workers.cli.main"]
        return self.run(*start, "--config", self.place / "backup.toml", *arguments)

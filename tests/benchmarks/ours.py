"""This product as a competitor: the whole command, and of the same command what its worker's own work took."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks import engine
from tests.benchmarks.competitors import Competitor
from tests.benchmarks.measure import Cost


class Command(Competitor):
    """`geometra-backup` as a person types it, with nothing installed beside it: each `run` starts a broker and a
    worker and is a whole night of its source, so it also uploads, reads back all it has stored, and prunes."""

    name = "geometra-backup"
    proves = True

    @classmethod
    def missing(cls) -> str:
        """It is this project's own: where it can't be run, that is an error of the run and no excuse."""
        return ""

    @classmethod
    def version(cls) -> str:
        try:
            return f"geometra-backup {version('geometra-backup')}"
        except PackageNotFoundError:
            return "geometra-backup (this folder)"

    def create(self) -> None:
        super().create()
        self.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        engine.create(self.place / "keys")
        (self.place / "passphrase").write_text(engine.PASSPHRASE)
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
        return self._command("run")[0]

    def restore(self, into: Path) -> Cost:
        return self._command("restore", "corpus", "--to", into)[0]

    def restored(self, into: Path) -> Path:
        return into / self.corpus.name

    def read_all(self) -> Cost:
        return self._command("verify", "corpus", "--everything")[0]

    def _command(self, *arguments: str | Path) -> tuple[Cost, Any]:
        """What it cost, and the JSON that it printed."""
        script = Path(sys.executable).with_name("geometra-backup")
        start = [script] if script.exists() else [sys.executable, "-m", "workers.cli.main"]
        before = self.log.stat().st_size if self.log.exists() else 0
        cost = self.run(*start, "--json", "--config", self.place / "backup.toml", *arguments)
        return cost, json.loads(self.log.read_bytes()[before:].splitlines()[-1])


class Engine(Command):
    """The same commands, and of each only what its work took by its own count: of a night, the capture and the upload;
    without the start of Python, of Celery and of a broker, and without the proof, which has a row of its own."""

    name = "engine"
    proves = False

    def save(self) -> Cost:
        report = self._command("run")[1]
        return _own(*(report["steps"][step]["figures"] for step in ("backup/corpus", "upload/corpus/local")))

    def restore(self, into: Path) -> Cost:
        return _own(self._command("restore", "corpus", "--to", into)[1]["figures"])

    def read_all(self) -> Cost:
        return _own(self._command("verify", "corpus", "--everything")[1][0]["figures"])


def _own(*steps: dict[str, float]) -> Cost:
    return Cost(
        sum(figures["seconds"] for figures in steps),
        sum(figures["cpu_seconds"] for figures in steps),
        int(max(figures["peak_memory_bytes"] for figures in steps)),
    )

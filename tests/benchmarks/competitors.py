"""The programs a user would pick instead: restic, Borg, `tar | zstd`, and the old design. Each as its manual says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.benchmarks.measure import Cost, run


class Competitor:
    """One program with one repository in `place`; everything it writes, caches included, lies there.

    `create` is not measured; `save`, `restore` and `read_all` are. `rounds` limits how often a slow one is run;
    `whole_times` is False where its format does not hold nanoseconds; `proves`: each `save` also reads back what it
    has stored.
    """

    name: ClassVar[str]
    needs: ClassVar[Sequence[str]] = ()
    rounds: ClassVar[int] = 1_000
    whole_times: ClassVar[bool] = True
    proves: ClassVar[bool] = False

    def __init__(self, place: Path, corpus: Path, kind: str) -> None:
        self.place, self.corpus, self.kind = place, corpus, kind
        self.repository = place / "repository"
        self.log = place / "log"
        (place / "home").mkdir(parents=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(place / "home"),
            "XDG_CACHE_HOME": str(place / "cache"),
            "TMPDIR": str(place),
        }

    @classmethod
    def missing(cls) -> str:
        """Why it can't take part on this machine, or ""."""
        gone = [need for need in cls.needs if not shutil.which(need)]
        return f"{', '.join(gone)} not installed" if gone else ""

    @classmethod
    def version(cls) -> str:
        raise NotImplementedError

    def create(self) -> None:
        self.repository.mkdir()

    def save(self) -> Cost:
        raise NotImplementedError

    def restore(self, into: Path) -> Cost:
        raise NotImplementedError

    def restored(self, into: Path) -> Path:
        """Where in `into` the corpus lies after a restore."""
        return into

    def read_all(self) -> Cost:
        raise NotImplementedError

    def stored(self) -> int:
        """Bytes of all files of the repository, caches not included."""
        return sum(
            os.lstat(os.path.join(folder, name)).st_size
            for folder, _, names in os.walk(self.repository)
            for name in names
        )

    def run(self, *command: str | Path, cwd: Path | None = None) -> Cost:
        return run(command, cwd=cwd or self.corpus, environment=self.environment, log=self.log)


class Restic(Competitor):
    """Repository version 2 with its default compression."""

    name = "restic"
    needs = ("restic",)

    @classmethod
    def version(cls) -> str:
        return " ".join(_output("restic", "version").split()[:2])

    def create(self) -> None:
        self.environment |= {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": "a benchmark's passphrase"}
        self.environment |= {"RESTIC_CACHE_DIR": str(self.place / "cache")}
        self.run("restic", "init", "--repository-version", "2")

    def save(self) -> Cost:
        return self.run("restic", "backup", ".")

    def restore(self, into: Path) -> Cost:
        return self.run("restic", "restore", "latest", "--target", into)

    def read_all(self) -> Cost:
        return self.run("restic", "check", "--read-data")


class Borg(Competitor):
    """Encrypted with `repokey`, which is Borg's fastest here because the processor hashes SHA-256 itself."""

    name = "Borg"
    needs = ("borg",)

    @classmethod
    def version(cls) -> str:
        return _output("borg", "--version").strip()

    def create(self) -> None:
        self._saved = 0
        self.environment |= {"BORG_REPO": str(self.repository), "BORG_PASSPHRASE": "a benchmark's passphrase"}
        self.environment |= {"BORG_BASE_DIR": str(self.place / "home")}
        self.run("borg", "init", "--encryption", "repokey")

    def save(self) -> Cost:
        self._saved += 1
        return self.run("borg", "create", "--compression", "zstd,3", f"::{self._saved}", ".")

    def restore(self, into: Path) -> Cost:
        return self.run("borg", "extract", f"::{self._saved}", cwd=into)

    def read_all(self) -> Cost:
        return self.run("borg", "check", "--verify-data")


class TarZstandard(Competitor):
    """Not a rival, but the bound that a plain stream sets: no deduplication, no encryption."""

    name = "tar+zstd"
    needs = ("tar", "zstd", "sh")

    @classmethod
    def version(cls) -> str:
        return _output("zstd", "--version").split("v")[-1].split(",")[0].join(("zstd ", ", GNU tar"))

    def save(self) -> Cost:
        self._saved = self.repository / f"{len(os.listdir(self.repository))}.tar.zst"
        return self._shell(f"tar --format=posix -cf - . | zstd -3 -q -o {self._saved}")

    def restore(self, into: Path) -> Cost:
        return self._shell(f"zstd -dc {self._saved} | tar -xpf -", cwd=into)

    def read_all(self) -> Cost:
        return self._shell(f"zstd -dc {self._saved} | tar -tf - > /dev/null")

    def _shell(self, line: str, cwd: Path | None = None) -> Cost:
        return self.run("sh", "-ec", line, cwd=cwd)


class OldDesign(Competitor):
    """Python's tarfile with gzip level 9: what this product replaces. Minutes long, so it runs in one round only."""

    name = "tar+gzip -9"
    rounds = 1
    whole_times = False

    @classmethod
    def version(cls) -> str:
        return f"tarfile of Python {sys.version.split()[0]}"

    def save(self) -> Cost:
        self._saved = self.repository / f"{len(os.listdir(self.repository))}.tar.gz"
        return self._program("save", self.corpus)

    def restore(self, into: Path) -> Cost:
        return self._program("restore", into)

    def read_all(self) -> Cost:
        return self._program("read", self.repository)

    def _program(self, verb: str, folder: Path) -> Cost:
        return self.run(sys.executable, Path(__file__).with_name("old_design.py"), verb, self._saved, folder)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

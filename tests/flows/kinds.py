"""A source and a destination that stop where a test says, so that a worker is killed in the middle and nowhere else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal
from unittest import mock

from tasks.destinations import DESTINATIONS, Data, Local
from tasks.destinations.local import LocalSettings
from tasks.errors import SourceError
from tasks.item import Facts, Flaw, Item, Stored
from tasks.settings import SourceSettings
from tasks.sources.filetree import FileTree, FileTreeSettings
from tasks.sources.kinds import SOURCES
from tasks.sources.source import Capture
from tasks.sources.staging_writer import StagingWriter
from tasks.sources.stretch import Stretch


def pass_gate(gate: Path) -> None:
    """While `<gate>` is there, whoever comes waits, and `<gate>.reached` tells so."""
    while gate.exists():
        gate.with_suffix(".reached").touch()
        time.sleep(0.02)


class GatedSourceSettings(FileTreeSettings):
    gate: Path


class GatedSource(FileTree):
    """Files. Stops before the item whose name ends in `gate`."""

    kind: ClassVar[str] = "gated"
    Settings: ClassVar[type[SourceSettings]] = GatedSourceSettings
    settings: GatedSourceSettings

    def capture(self) -> Any:
        return _GatedCapture(super().capture(), self.settings.gate)

    def capture_stretch(self, stretch: Stretch) -> Any:
        inner = super().capture_stretch(stretch)
        # All of it is only looked through, to divide it.
        return inner if stretch.is_all else _GatedCapture(inner, self.settings.gate)


class _GatedCapture:
    def __init__(self, inner: Capture, gate: Path) -> None:
        self._inner, self._gate = inner, gate

    def __iter__(self) -> Iterator[Item]:
        for item in self._inner:
            if item.entry.path.endswith(b"gate"):
                pass_gate(self._gate)
            yield item

    def stored(self, item: Stored) -> None:
        self._inner.stored(item)

    def flaws(self) -> list[Flaw]:
        return list(self._inner.flaws())

    def facts(self) -> Facts:
        return self._inner.facts()


class DeadlySource(FileTree):
    """Kills its worker whenever it is captured."""

    kind: ClassVar[str] = "deadly"

    def capture(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class BrittleSource(FileTree):
    """Its second part, and no other, can't be captured."""

    kind: ClassVar[str] = "brittle"

    def capture_stretch(self, stretch: Stretch) -> Any:
        if stretch.start and stretch.end:
            raise SourceError("the disk of this part is broken")
        return super().capture_stretch(stretch)


class MiscountingSource(FileTree):
    """Stores what there is, and says that there was more."""

    kind: ClassVar[str] = "miscounting"

    def capture(self) -> Any:
        return Miscounting(super().capture())


class Miscounting:
    """A capture that has counted one file too many."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[Item]:
        return iter(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def facts(self) -> Facts:
        facts: Facts = self._inner.facts()
        return facts | {"files": facts["files"] + 1}


class FaultySource(FileTree):
    """Has a mistake in its code, in whose message there is a secret."""

    kind: ClassVar[str] = "faulty"

    def capture(self) -> Any:
        raise RuntimeError("could not log in as admin:hunter2")


class GatedDestinationSettings(LocalSettings):
    kind: Literal["gated"] = "gated"  # type: ignore[assignment]
    gate: Path


class GatedDestination(Local):
    """Stops before each pack but the first."""

    Settings: ClassVar[type[GatedDestinationSettings]] = GatedDestinationSettings

    def __init__(self, settings: GatedDestinationSettings) -> None:
        super().__init__(settings)
        self._gate, self._packs = settings.gate, 0

    def put(self, name: str, data: Data) -> None:
        if "/packs/" in name:
            self._packs += 1
            if self._packs > 1:
                pass_gate(self._gate)
        super().put(name, data)


class SlowDestinationSettings(LocalSettings):
    kind: Literal["slow"] = "slow"  # type: ignore[assignment]
    seconds: float


class SlowDestination(Local):
    """As far away as that."""

    Settings: ClassVar[type[SlowDestinationSettings]] = SlowDestinationSettings

    def __init__(self, settings: SlowDestinationSettings) -> None:
        super().__init__(settings)
        self._seconds = settings.seconds

    def put(self, name: str, data: Data) -> None:
        time.sleep(self._seconds)
        super().put(name, data)
        time.sleep(self._seconds)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        time.sleep(self._seconds)
        return super().get(name, offset, length)


def register() -> None:
    SOURCES["gated"] = GatedSource
    SOURCES["deadly"] = DeadlySource
    SOURCES["faulty"] = FaultySource
    SOURCES["brittle"] = BrittleSource
    SOURCES["miscounting"] = MiscountingSource
    DESTINATIONS["gated"] = GatedDestination
    DESTINATIONS["slow"] = SlowDestination


def register_tasks() -> None:
    """In a worker, whose own were made before these kinds were known."""
    from tasks.backup import BACKUPS, task_of

    BACKUPS.update(
        {kind: task_of(kind) for kind in ("gated", "deadly", "faulty", "brittle", "miscounting") if kind not in BACKUPS}
    )


def gate_restores() -> None:
    """In a worker whose environment says `RESTORE_GATE=METHOD:GATE`: stop before that method of what writes, at each
    item whose name ends in `gate`."""
    method, _, gate = os.environ.get("RESTORE_GATE", "").partition(":")
    if not method:
        return
    whole = getattr(StagingWriter, method)

    def gated(self: StagingWriter, item: Stored) -> None:
        if item.entry.path.endswith(b"gate"):
            pass_gate(Path(gate))
        whole(self, item)

    setattr(StagingWriter, method, gated)

    def in_two(self: StagingWriter, item: Stored, data: memoryview) -> None:
        self.write(item, 0, data)
        self.complete(item)

    if method == "complete":
        setattr(StagingWriter, "whole", in_two)  # noqa: B010 - so that it is reached for small files too


@contextmanager
def registered() -> Iterator[None]:
    with mock.patch.dict(SOURCES), mock.patch.dict(DESTINATIONS):
        register()
        yield

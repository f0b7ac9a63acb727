"""The contract of destinations, on every one that runs here."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from tasks.destinations import Data, Destination, Local, Overlay, Prefixed, open_destination
from tasks.destinations.local import LocalSettings
from tasks.errors import BackupError
from tests.contracts.child import Child, as_nobody
from tests.contracts.destination_contract import DestinationContract, DestinationObjects
from tests.contracts.destination_listing import DestinationListing
from tests.contracts.destination_processes import DestinationProcesses
from tests.contracts.failing_destination_contract import (
    Attempt,
    FullDestinationContract,
    RefusingDestinationContract,
    VanishingDestinationContract,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that goes away with the test, unlike `tmp_path`: the kills leave gigabytes. Others may pass through it."""
    with tempfile.TemporaryDirectory(prefix="destination-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def memory() -> Iterator[Path]:
    """For views: what is durable in a view is so by what lies under it."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a file system, no temporary file
    with tempfile.TemporaryDirectory(prefix="destination-", dir=place) as path:
        yield Path(path)


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A file system of 8 MiB of its own. Skips, in CI too, where even root may not mount one: no program is missing."""
    point = folder / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(point)]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.splitlines()[0]}")
    yield point
    _unmount(point)


def _unmount(point: Path) -> None:
    if point.is_mount():
        subprocess.run(["umount", str(point)], check=True)


def _local(path: Path) -> Local:
    path.mkdir(exist_ok=True)
    return Local(LocalSettings(path=path))


class TestLocal(DestinationContract):
    @pytest.fixture
    def destination(self, folder: Path) -> Destination:
        return open_destination(LocalSettings(path=folder))

    @pytest.fixture
    def reopen(self, folder: Path) -> Callable[[], Destination]:
        return lambda: open_destination(LocalSettings(path=folder))


class TestPrefixed(DestinationContract):
    @pytest.fixture
    def destination(self, memory: Path) -> Destination:
        whole = _local(memory)
        for name in ("redi", "redis-", "redis0/one", "a/redis/one"):
            whole.put(name, b"of another")
        return Prefixed(whole, "redis/")

    @pytest.fixture
    def reopen(self, memory: Path) -> Callable[[], Destination]:
        return lambda: Prefixed(_local(memory), "redis/")


class TestOverlay(DestinationObjects, DestinationListing, DestinationProcesses):
    """All but deletion, which it refuses."""

    @pytest.fixture
    def destination(self, memory: Path) -> Destination:
        return Overlay(_local(memory / "first"), _local(memory / "then"))

    @pytest.fixture
    def reopen(self, memory: Path) -> Callable[[], Destination]:
        return lambda: Overlay(_local(memory / "first"), _local(memory / "then"))


class _Scattered(Overlay):
    """An overlay that finds its objects in either half."""

    def put(self, name: str, data: Data) -> None:
        if crc32(name.encode()) % 2:
            super().put(name, data)
        else:
            self._then.put(name, data)


class TestBothHalvesOfAnOverlay(DestinationObjects, DestinationListing):
    @pytest.fixture
    def destination(self, memory: Path) -> Destination:
        return _Scattered(_local(memory / "first"), _local(memory / "then"))


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=["the folder is private", "what it holds is"])
class TestLocalOfAnotherUser(RefusingDestinationContract):
    @pytest.fixture
    def destination(self, folder: Path) -> Destination:
        return _local(folder / "root")

    @pytest.fixture
    def refused(self, folder: Path, mode: int) -> Attempt:
        root = folder / "root"

        def attempt(operation: Callable[[Destination], object]) -> BackupError:
            other = Local(LocalSettings(path=root))
            root.chmod(mode if os.geteuid() == 0 else 0)
            try:
                Child(as_nobody(lambda: operation(other))).result()
            except BackupError as error:
                return error
            finally:
                root.chmod(0o700)
            pytest.fail("it was not refused")

        return attempt


class TestLocalBeyondTheLargestFileAllowed(FullDestinationContract):
    @pytest.fixture
    def full(self, folder: Path) -> Iterator[Destination]:
        # No disk runs full here, but the write fails half-way all the same, and this works for every user.
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, before[1]))
        yield _local(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestLocalOnAFullDisk(FullDestinationContract):
    @pytest.fixture
    def full(self, disk: Path) -> Destination:
        return _local(disk)


class TestLocalThatWasRemoved(VanishingDestinationContract):
    @pytest.fixture
    def destination(self, folder: Path) -> Destination:
        return _local(folder / "root")

    @pytest.fixture
    def vanish(self, folder: Path) -> Callable[[], None]:
        return lambda: shutil.rmtree(folder / "root")


class TestLocalOnADiskThatWasUnmounted(VanishingDestinationContract):
    """Its mount point stays behind as an empty folder."""

    @pytest.fixture
    def destination(self, disk: Path) -> Destination:
        return Local(LocalSettings(path=disk, mounted=disk))

    @pytest.fixture
    def vanish(self, disk: Path) -> Callable[[], None]:
        return lambda: _unmount(disk)

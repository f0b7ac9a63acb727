"""A disk that is full soon."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many bytes. Skips, in CI too, where even root may not mount one: no program is missing."""
    disk = tmp_path / "disk"

    def mounted(size: int) -> Path:
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        tried = subprocess.run(mount, capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
        return disk

    yield mounted
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def old_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 whose inodes are so small that times are whole seconds from 1901 to 2038, and whose blocks are of 1 KiB.
    Skips, in CI too, where even root may not mount one."""
    with _mounted(tmp_path / "old", 32 << 20, "mkfs.ext4", "-q", "-I", "128", "-b", "1024") as disk:
        yield disk


@pytest.fixture
def ext3_disk(tmp_path: Path) -> Iterator[Path]:
    """Each block of a file is noted there by itself, in further blocks. Skips as the others do."""
    with _mounted(tmp_path / "ext3", 64 << 20, "mkfs.ext3", "-q", "-I", "256", "-b", "4096") as disk:
        yield disk


@pytest.fixture
def xfs_disk(tmp_path: Path) -> Iterator[Path]:
    """Skips, in CI too, where even root may not mount one."""
    with _mounted(tmp_path / "xfs", 400 << 20, "mkfs.xfs", "-q") as disk:
        yield disk


@pytest.fixture
def huge_pages(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs that notes data in units of 2 MiB. Skips, in CI too, where even root may not mount one."""
    disk = tmp_path / "huge"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "huge=always,size=500m", "tmpfs", str(disk)]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def _mounted(disk: Path, size: int, *making: str) -> Iterator[Path]:
    image = disk.with_suffix(".image")
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    for command in ([*making, str(image)], ["mount", "-o", "loop", str(image), str(disk)]):
        try:
            tried = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        if tried.returncode:
            pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)

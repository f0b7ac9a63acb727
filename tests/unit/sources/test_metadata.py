"""What is restored has the permissions that it had, and until it is complete nobody may do more with it than then."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.item import FILE, Entry, Stored
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.metadata import Metadata
from tasks.sources.not_restored import NotRestored
from tasks.sources.source import Restoring

OWN = {"uid": os.geteuid(), "gid": os.getegid()}


def metadata(*, owners: bool = True) -> Metadata:
    return Metadata(owners, NotRestored())


def entry(mode: int, **more: object) -> Entry:
    return Entry(b"file", FILE, mode, mtime_ns=1, size=7)._replace(**(OWN | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o666, 0o777, 0o604, 0o706])
def test_a_file_that_all_may_see_is_made_with_the_permissions_it_is_to_have(mode: int) -> None:
    assert metadata().first_mode(entry(mode)) == mode


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o664, 0o750, 0o444, 0o000, 0o200, 0o4755, 0o2755, 0o1644])
def test_any_other_file_is_made_for_its_maker_alone(mode: int) -> None:
    assert metadata().first_mode(entry(mode)) == 0o600


def test_a_file_with_attributes_is_made_for_its_maker_alone() -> None:
    assert metadata().first_mode(entry(0o644, xattrs=((b"user.a", b"b"),))) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_file_of_another_owner_is_made_for_its_maker_alone() -> None:
    other = entry(0o644, uid=12345)
    assert metadata().first_mode(other) == 0o600
    assert metadata(owners=False).first_mode(other) == 0o644


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("mode", [0o644, 0o666, 0o777, 0o640, 0o444, 0o4755, 0o1644, 0o000])
def test_permissions_come_back_exactly_whatever_the_umask(
    tmp_path: Path, umask: int, mode: int, overwrite: bool
) -> None:
    with FolderWriter(tmp_path, Restoring(overwrite=overwrite)) as writer:
        writer.whole(Stored(entry(mode)), memoryview(b"content"))
    status = (tmp_path / "file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (mode, 1)


def test_files_of_several_folders_in_turn_all_come_where_they_belong(tmp_path: Path) -> None:
    paths = [b"a/1", b"b/1", b"a/2", b"3", b"a/inner/4", b"b/2"]
    with FolderWriter(tmp_path, Restoring()) as writer:
        for path in paths:
            writer.whole(Stored(entry(0o644, path=path, size=len(path))), memoryview(path))
    for path in paths:
        assert (tmp_path / os.fsdecode(path)).read_bytes() == path

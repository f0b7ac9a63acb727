"""Which of a destination's folders are ours: those that hold a repository, whatever else lies on that disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.destinations import Local
from tasks.destinations.local import LocalSettings
from tasks.errors import Refused, Unavailable


@pytest.fixture
def shared(local: Local, root: Path) -> Local:
    """A disk with two sources, and with what others keep there."""
    for name in ("redis/repository", "docs/repository", "docs/packs/one"):
        local.put(name, b"x")
    (root / "photos").mkdir()
    (root / "photos/link").symlink_to("/etc/passwd")
    (root / "lost+found").mkdir(mode=0)
    (root / "empty").mkdir()
    (root / "file").touch()
    (root / "to-a-folder").symlink_to(root / "photos")
    (root / "to-nothing").symlink_to("nowhere")
    (root / "to-itself").symlink_to("to-itself")
    return local


def test_what_others_keep_on_that_disk_is_not_looked_into(shared: Local) -> None:
    assert shared.folders_with("repository") == ["docs", "redis"]


def test_a_source_behind_a_link_is_never_left_out_in_silence(shared: Local, root: Path) -> None:
    (root / "moved").symlink_to(root / "docs")
    with pytest.raises(Refused, match="symbolic link"):
        shared.folders_with("repository")
    (root / "moved").unlink()
    (root / "empty/repository").symlink_to(root / "docs/repository")
    with pytest.raises(Refused, match="is a link or no plain file"):
        shared.folders_with("repository")


def test_a_disk_that_is_not_there_holds_nothing_that_is_known(root: Path) -> None:
    with pytest.raises(Unavailable):
        Local(LocalSettings(path=root / "gone")).folders_with("repository")

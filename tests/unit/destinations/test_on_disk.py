"""Objects that are files of this host: handed on by their path, and never one that leads elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.destinations import Local, Overlay, Prefixed
from tasks.destinations.body import body_of
from tasks.destinations.destination import Lent, whole
from tasks.destinations.local import LocalSettings
from tasks.errors import Missing, Refused, Unavailable
from tests.faulty_destination import FaultyDestination


def test_an_object_is_found_where_it_lies(local: Local, root: Path) -> None:
    local.put("redis/packs/one", b"x")
    assert local.path_of("redis/packs/one") == root / "redis/packs/one"
    assert Prefixed(local, "redis").path_of("packs/one") == root / "redis/packs/one"
    assert whole(local, "redis/packs/one") == root / "redis/packs/one"


def test_what_is_no_object_has_no_path(local: Local, root: Path) -> None:
    local.put("packs/one", b"x")
    (root / "link").symlink_to(root / "packs/one")
    for name in ("packs", "packs/two", "nothing/one", "packs/one/more", "link"):
        assert local.path_of(name) is None
    with pytest.raises(Missing):
        whole(local, "packs/two")


def test_no_path_leads_out_through_a_link(local: Local, root: Path, finished: Path) -> None:
    (root / "packs").symlink_to(finished.parent)
    (root / "one").symlink_to(finished)
    for name in ("packs/finished", "one"):
        with pytest.raises(Refused, match="symbolic link"):
            whole(local, name)


def test_what_became_a_link_since_its_path_was_told_is_not_handed_on(local: Local, root: Path, finished: Path) -> None:
    local.put("packs/one", b"x")
    path = local.path_of("packs/one")
    assert path
    path.unlink()
    path.symlink_to(finished)
    with pytest.raises(Refused, match="symbolic link"):
        local.put("packs/two", Lent(path))
    with pytest.raises(Refused, match="symbolic link"), body_of(Lent(path)):
        pass


def test_a_bad_name_has_no_path(local: Local) -> None:
    for destination in (local, Prefixed(local, "redis"), Overlay(local, local)):
        with pytest.raises(Refused):
            destination.path_of("../finished")


def test_a_disk_that_is_not_there_is_unavailable(root: Path) -> None:
    for settings in (LocalSettings(path=root / "gone"), LocalSettings(path=root, mounted=root)):
        with pytest.raises(Unavailable):
            Local(settings).path_of("one")


def test_an_overlay_knows_the_paths_of_the_spool_only(local: Local, root: Path) -> None:
    (root.parent / "then").mkdir()
    then = Local(LocalSettings(path=root.parent / "then"))
    local.put("spooled", b"1")
    then.put("uploaded", b"2")
    overlay = Overlay(local, then)
    assert overlay.path_of("spooled") == root / "spooled"
    assert overlay.path_of("uploaded") is None
    assert whole(overlay, "uploaded") == b"2"


def test_what_is_not_on_disk_is_read(local: Local) -> None:
    remote = FaultyDestination(local)
    local.put("redis/one", b"x")
    assert Prefixed(remote, "redis").path_of("one") is None
    assert whole(Prefixed(remote, "redis"), "one") == b"x"
    assert whole(remote, "redis/one") == b"x"

"""Power cuts can't be had here: what is seen is that everything is synced, in the order that makes it safe."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.destinations import Local
from tasks.errors import Exists

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux to tell what was synced")

Calls = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What was synced, linked and removed, by the path below the root, in order."""
    seen: Calls = []

    def watch(name: str, where: Callable[..., str]) -> None:
        real = getattr(os, name)

        def watched(*arguments: object, **options: object) -> object:
            seen.append((name, where(*arguments, **options)))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, watched)

    def path_of(descriptor: int) -> str:
        path = os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/root")[2]
        return "the unfinished" if path.startswith("/.tmp/") else path

    watch("fsync", path_of)
    watch("link", lambda _, name, **options: f"{path_of(options['dst_dir_fd'])}/{name}")
    watch("unlink", lambda name, **options: f"{path_of(options['dir_fd'])}/{name}")
    return seen


def test_an_object_is_synced_before_it_has_its_name_and_then_its_folder(local: Local, calls: Calls) -> None:
    local.put("packs/0a/one", b"x")
    calls = [call for call in calls if call[0] != "unlink"]
    link = calls.index(("link", "/packs/0a/one"))
    assert set(calls[:link]) == {("fsync", ""), ("fsync", "/packs"), ("fsync", "the unfinished")}
    assert calls[link + 1 :] == [("fsync", "/packs/0a")]


def test_a_file_of_the_spool_is_synced_before_it_has_its_name(local: Local, root: Path, calls: Calls) -> None:
    spool = root / "spool"
    spool.write_bytes(b"x")
    spool.chmod(0o600)
    local.put("packs/one", spool)
    assert calls == [("fsync", ""), ("fsync", "/spool"), ("link", "/packs/one"), ("fsync", "/packs")]


def test_folders_that_another_process_made_are_synced_once(local: Local, root: Path, calls: Calls) -> None:
    (root / "packs/0a").mkdir(parents=True)
    (root / ".tmp").mkdir()
    for name in ("one", "two"):
        local.put(f"packs/0a/{name}", b"x")
    assert calls.count(("fsync", "/packs")) == 1
    assert calls.count(("fsync", "/packs/0a")) == 2


def test_whoever_is_told_that_it_exists_can_rely_on_it(local: Local, root: Path, calls: Calls) -> None:
    (root / "packs").mkdir()
    (root / "packs/one").write_bytes(b"another process has just linked it")
    with pytest.raises(Exists):
        local.put("packs/one", b"x")
    assert ("fsync", "/packs") in calls


def test_a_deletion_is_synced(local: Local, calls: Calls) -> None:
    local.put("packs/one", b"x")
    calls.clear()
    local.delete("packs/one")
    assert calls == [("unlink", "/packs/one"), ("fsync", "/packs")]

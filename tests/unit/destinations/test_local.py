"""What the contract leaves open about a local folder: how objects get there, and what killed writers leave."""

from __future__ import annotations

import os
import stat
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tasks.destinations import Listed, Local
from tasks.destinations.local import LocalSettings
from tasks.errors import BackupError, Damaged, Exists, Missing, Refused

MIB = 1 << 20


@pytest.mark.parametrize("umask", [0, 0o022, 0o277])
def test_objects_and_folders_are_private_whatever_the_umask(local: Local, root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        local.put("packs/0a/one", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "packs/0a/one").stat().st_mode) == 0o600
    for folder in ("packs", "packs/0a", ".tmp"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o700


def test_nothing_unfinished_stays_behind(local: Local, root: Path, finished: Path) -> None:
    local.put("a", b"x")
    finished.chmod(0o644)
    local.put("b", finished)
    with suppress(Exists):
        local.put("a", b"y")
    with suppress(Exists):
        local.put("a", finished)
    assert list((root / ".tmp").iterdir()) == []


@pytest.mark.parametrize("moment", ["between two", "before one is looked at"])
def test_of_what_takes_the_place_of_another_a_listing_names_one_or_the_other(
    local: Local, root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def replace() -> None:
        local.put("index/0", b"the new one")
        local.delete("index/9")

    def looked(*arguments: Any, **named: Any) -> os.stat_result:
        monkeypatch.undo()
        replace()
        return os.lstat(*arguments, **named)

    for name in ("index/1", "index/9"):
        local.put(name, b"x")
    listing = local.list("index/")
    if moment == "between two":
        names = [next(listing).name]
        replace()
    else:
        names = []
        monkeypatch.setattr(os, "lstat", looked)
    names += [each.name for each in listing]
    assert names in (["index/0", "index/1"], ["index/1", "index/9"])


class TestAFileOfTheSpool:
    def test_is_given_a_second_name_where_that_is_possible(self, local: Local, root: Path, finished: Path) -> None:
        local.put("packs/one", finished)
        assert (root / "packs/one").samefile(finished)
        assert not (root / ".tmp").exists()

    def test_never_becomes_one_file_of_two_destinations(self, local: Local, root: Path, finished: Path) -> None:
        (root.parent / "other").mkdir()
        other = Local(LocalSettings(path=root.parent / "other"))
        local.put("packs/one", finished)
        other.put("packs/one", finished)
        assert not (root.parent / "other/packs/one").samefile(root / "packs/one")
        (root / "packs/one").write_bytes(b"damaged")
        assert other.get("packs/one") == b"content"

    def test_never_becomes_one_file_of_two_destinations_that_take_it_at_once(
        self, local: Local, root: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root.parent / "other").mkdir()
        other, link = Local(LocalSettings(path=root.parent / "other")), os.link

        def meanwhile(source: str | Path, *arguments: object, **options: object) -> None:
            if source == finished:
                monkeypatch.setattr(os, "link", link)
                other.put("packs/one", finished)
            link(source, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", meanwhile)
        local.put("packs/one", finished)
        assert not (root.parent / "other/packs/one").samefile(root / "packs/one")
        assert other.get("packs/one") == local.get("packs/one") == b"content"

    def test_that_others_may_read_is_copied_and_keeps_its_mode(self, local: Local, root: Path, finished: Path) -> None:
        finished.chmod(0o644)
        local.put("packs/one", finished)
        assert local.get("packs/one") == b"content"
        assert stat.S_IMODE((root / "packs/one").stat().st_mode) == 0o600
        assert stat.S_IMODE(finished.stat().st_mode) == 0o644

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_of_another_user_is_copied(self, local: Local, root: Path, finished: Path) -> None:
        os.chown(finished, 65534, 65534)
        local.put("packs/one", finished)
        assert (root / "packs/one").stat().st_uid == 0
        assert local.get("packs/one") == b"content"

    def test_that_is_reached_by_a_link_is_copied_not_the_link(self, local: Local, root: Path, finished: Path) -> None:
        finished.with_name("link").symlink_to(finished)
        local.put("packs/one", finished.with_name("link"))
        assert not (root / "packs/one").is_symlink()
        assert not (root / "packs/one").samefile(finished)
        assert local.get("packs/one") == b"content"

    def test_on_another_file_system_is_copied(self, local: Local, root: Path) -> None:
        other = Path("/dev/shm")  # noqa: S108 - a file system, no temporary file
        if not other.is_dir() or other.stat().st_dev == root.stat().st_dev:
            pytest.skip("there is no second file system here")
        file = other / f"finished-{os.getpid()}"
        content = os.urandom(9 * MIB + 1)
        file.write_bytes(content)
        file.chmod(0o600)
        try:
            local.put("packs/one", file)
        finally:
            file.unlink()
        assert local.get("packs/one") == content

    def test_that_has_too_many_names_is_copied(
        self, local: Local, finished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = os.link

        def full(source: str | Path, *arguments: object, **options: object) -> None:
            if source == finished:
                raise OSError(31, "Too many links")
            link(source, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", full)
        local.put("packs/one", finished)
        assert local.get("packs/one") == b"content"

    def test_that_is_gone_is_named(self, local: Local, tmp_path: Path) -> None:
        with pytest.raises(Missing, match="gone"):
            local.put("packs/one", tmp_path / "gone")
        assert list(local.list()) == []

    def test_that_is_none_is_refused_and_nobody_waits_for_it(self, local: Local, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        for path in (tmp_path / "pipe", tmp_path):
            with pytest.raises(Refused, match="plain file"):
                local.put("packs/one", path)
        assert list(local.list()) == []

    @pytest.mark.skipif(not Path("/proc/version").is_file(), reason="needs Linux for a file that belies its size")
    def test_that_is_not_as_long_as_it_says_is_not_stored(self, local: Local, root: Path) -> None:
        with pytest.raises(Damaged, match="/proc/version"):
            local.put("packs/one", Path("/proc/version"))
        assert list(local.list()) == []
        assert list((root / ".tmp").iterdir()) == []


class TestWhatKilledWritersLeave:
    def test_is_never_listed_nor_reachable(self, local: Local, root: Path) -> None:
        local.put("a", b"x")
        (root / ".tmp/123-abc").write_bytes(b"torn")
        assert list(local.list()) == [Listed("a", 1)]
        with pytest.raises(Refused):
            local.get(".tmp/123-abc")

    def test_is_collected_after_a_day_by_the_next_client_that_writes(self, local: Local, root: Path) -> None:
        local.put("a", b"x")
        now = time.time()
        for name, age in (("old", 86_460), ("young", 86_340), ("future", -9000)):
            (root / ".tmp" / name).write_bytes(b"torn")
            os.utime(root / ".tmp" / name, (now - age, now - age))
        list(Local(LocalSettings(path=root)).list())
        assert len(list((root / ".tmp").iterdir())) == 3
        Local(LocalSettings(path=root)).put("b", b"x")
        assert {path.name for path in (root / ".tmp").iterdir()} == {"young", "future"}

    def test_is_collected_by_a_client_that_lives_for_days(
        self, local: Local, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local.put("a", b"x")
        (root / ".tmp/torn").write_bytes(b"torn")
        now = time.time()
        for days, left in ((0.5, 1), (1.1, 0)):
            monkeypatch.setattr(time, "time", lambda days=days: now + days * 86_400)
            local.put(f"after/{days}", b"x")
            assert len(list((root / ".tmp").iterdir())) == left

    def test_that_cannot_be_removed_does_not_hinder_a_writer(self, local: Local, root: Path) -> None:
        (root / ".tmp/folder").mkdir(parents=True)
        os.utime(root / ".tmp/folder", (0, 0))
        local.put("a", b"x")
        assert local.get("a") == b"x"


def test_reading_takes_no_more_memory_than_what_is_read(local: Local) -> None:
    local.put("large", bytes(48 * MIB))
    tracemalloc.start()
    try:
        data = local.get("large", 8 * MIB, 32 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data) == 32 * MIB
    assert peak < 33 * MIB


def test_storing_takes_no_memory_for_what_is_stored(local: Local, tmp_path: Path) -> None:
    data = bytes(32 * MIB)
    (tmp_path / "file").write_bytes(data)
    tracemalloc.start()
    try:
        local.put("from-memory", data)
        local.put("from-a-file", tmp_path / "file")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux to count them")
def test_no_descriptor_is_left_open(local: Local, root: Path, finished: Path) -> None:
    local.put("a/one", b"x")
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("/")
    works: list[Callable[[], object]] = [
        lambda: local.put("a/two", b"x"),
        lambda: local.put("a/three", finished),
        lambda: local.put("a", b""),
        lambda: local.put("a/one/more", b""),
        lambda: local.put("link/one", b""),
        lambda: local.put("a/four", root / "pipe"),
        lambda: local.put("a/four", root / "nothing"),
        lambda: local.get("a/one"),
        lambda: local.get("a/one", 9),
        lambda: local.get("pipe"),
        lambda: local.get("link/one"),
        lambda: local.get("nothing/one"),
        lambda: local.delete("nothing"),
        lambda: list(local.list("a/")),
        lambda: list(local.list()),
        lambda: next(local.list("a/")),
    ]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        for work in works:
            with suppress(BackupError):
                work()
    assert len(os.listdir("/proc/self/fd")) == before

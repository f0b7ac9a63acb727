"""Logs that grow and rotate while they are captured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.sources import file_reader
from tasks.sources.logs import Logs, LogsSettings
from tasks.sources.open_folders import Descriptor
from tests.contracts.memory_items import Saved, read_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    for number, name in enumerate(("app.log", "app.log.1", "app.log.2", "other.log")):
        (folder / name).write_bytes(b"%d\n" % number * 1000)
    return folder


def source(folder: Path) -> Logs:
    return Logs("logs", LogsSettings(kind="logs", paths=(folder,)))


def rotate(folder: Path) -> None:
    for number in (2, 1):
        (folder / f"app.log.{number}").rename(folder / f"app.log.{number + 1}")
    (folder / "app.log").rename(folder / "app.log.1")
    (folder / "app.log").write_bytes(b"new\n")


def test_a_rotation_during_the_capture_loses_and_doubles_nothing(folder: Path) -> None:
    logs = source(folder)
    capture = logs.capture()

    class Rotating:
        def __iter__(self):  # type: ignore[no-untyped-def]
            for item in capture:
                if item.entry.path == b"log/app.log":
                    rotate(folder)
                yield item

        def __getattr__(self, name: str) -> object:
            return getattr(capture, name)

    saved = Saved(Rotating())  # type: ignore[arg-type]
    assert {item.entry.path: item.content for item in saved if item.content} == {
        b"log/app.log": b"0\n" * 1000,
        b"log/app.log.1": b"1\n" * 1000,
        b"log/app.log.2": b"2\n" * 1000,
        b"log/other.log": b"3\n" * 1000,
    }
    assert saved.flaws == []
    after = Saved(logs.capture(), saved)
    assert after[b"log/app.log.3"].content == b"2\n" * 1000
    assert after[b"log/app.log"].content == b"new\n"


def test_a_rotation_during_the_listing_loses_and_doubles_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = file_reader.open_for_reading
    rotations = 0

    def rotating(within: Descriptor, name: bytes, *, own: bool) -> int:
        nonlocal rotations
        if name == b"app.log.1" and not rotations:
            rotations += 1
            rotate(folder)
        return calm(within, name, own=own)

    monkeypatch.setattr(file_reader, "open_for_reading", rotating)
    saved = Saved(source(folder).capture())
    assert rotations
    assert [item.content[:2] for item in saved if item.content] == [b"ne", b"0\n", b"1\n", b"2\n", b"3\n"]


def test_a_log_that_is_deleted_after_the_listing_is_captured(folder: Path) -> None:
    capture = source(folder).capture()
    kept = {}
    for item in capture:
        if item.entry.path == b"log/app.log":
            (folder / "app.log.2").unlink()
        if item.open:
            kept[item.entry.path] = read_all(item.open())
    assert kept[b"log/app.log.2"] == b"2\n" * 1000
    assert list(capture.flaws()) == []


def test_every_log_is_cut_the_same_way(folder: Path) -> None:
    assert {item.cut for item in source(folder).capture() if item.open} == {"c64"}


def test_a_thousand_logs_in_one_folder_are_all_captured(folder: Path) -> None:
    for number in range(1000):
        (folder / f"{number:04}.log").write_text(str(number))
    saved = Saved(source(folder).capture())
    assert saved[b"log/0007.log"].content == b"7"
    assert len(saved.read) == 1004

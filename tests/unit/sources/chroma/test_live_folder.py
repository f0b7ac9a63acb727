"""A folder that an application writes as fast as it can: a snapshot is one moment of it, a tar is not."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.sources.chroma import snapshot as module
from tasks.sources.chroma.hnsw import PICKLE
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chroma.snapshot import take
from tasks.sources.chroma.stored_folder import DATABASE, StoredFolder
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.chroma_process import chroma, seen, writer
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree
from tests.repositories import about, create, local
from tests.unit.sources.chroma.live_state import wrong_with


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    folder = tmp_path / "live"
    with writer(folder) as process:
        yield folder, process


def source_of(folder: Path, scratch: Path) -> Chroma:
    return Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "path": folder, "scratch": scratch}))


def test_every_snapshot_of_a_folder_that_is_written_is_one_moment_of_it(live: Any, tmp_path: Path) -> None:
    folder, _ = live
    wrong = []
    for number in range(25):
        into = tmp_path / f"copy{number}"
        into.mkdir()
        copy = take(folder, into)
        wrong += [text for text in (wrong_with(into), *copy.doubtful.values()) if text]
    assert wrong == []
    persisted = [path for path in (tmp_path / "copy24").glob("*/*") if path.name == PICKLE]
    assert len(persisted) == 2, "no index was ever on disk, so this has shown nothing"


def test_a_tar_of_a_folder_that_is_written_is_not_one_moment_of_it(live: Any, tmp_path: Path) -> None:
    """The design that this replaces."""
    folder, _ = live
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with tarfile.open(tmp_path / "old.tar.gz", "w:gz", compresslevel=9) as archive:
            for path in sorted(path for path in folder.rglob("*") if not path.name.endswith("-journal")):
                archive.add(path, Path("copy", path.relative_to(folder)), recursive=False)
        with tarfile.open(tmp_path / "old.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        if wrong_with(tmp_path / "copy"):
            return
        shutil.rmtree(tmp_path / "copy")
    pytest.fail("no tar was torn: has Chroma changed how it writes?")


def test_chroma_itself_opens_a_snapshot_taken_meanwhile_and_sees_what_was_counted(live: Any, tmp_path: Path) -> None:
    folder, _ = live
    source = source_of(folder, tmp_path / "scratch")
    saved = Saved(source.capture())
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "restored", Restoring())
    assert "embedding_fulltext_search" in saved.facts["indexes"]["made_again_by_restore"]
    assert agree(source.examine(tmp_path / "restored"), saved.facts)
    found = seen(tmp_path / "restored" / "live")["dump"]
    assert {*found} == {"left", "right"}
    with StoredFolder(tmp_path / "restored" / "live") as stored:
        for each in stored.collections():
            rows = {
                record.id: [vector.tobytes().hex(), record.document, record.uri, record.metadata]
                for batch in each.batches()
                for record, vector in zip(batch.records, batch.vectors, strict=True)
            }
            assert rows == found[each.about.name]["rows"]


def test_a_writer_that_is_killed_at_any_moment_leaves_a_folder_that_can_be_captured(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / f"killed{number}"
        with writer(folder) as process:
            time.sleep(0.05 * number)
            os.kill(process.pid, signal.SIGKILL)
        into = tmp_path / f"copy{number}"
        into.mkdir()
        copy = take(folder, into)
        assert wrong_with(into) == "" or copy.doubtful


def test_a_persist_that_was_cut_short_is_told_and_times_that_were_scrambled_are_no_matter(
    filled_chroma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.1)
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    segment = next(store.glob(f"*/{PICKLE}")).parent
    for path in segment.iterdir():  # the pickle is the oldest now
        os.utime(path, ns=(10**18, 10**18 if path.name == PICKLE else 2 * 10**18))
    time.sleep(0.05)
    scrambled = Saved(source_of(store, tmp_path / "scratch").capture())
    assert scrambled.flaws == []
    content = bytearray((segment / "header.bin").read_bytes())
    content[20] += 1  # one vector more than the pickle knows
    data = segment / "data_level0.bin"
    size = int.from_bytes(content[28:36], "little")
    data.write_bytes(data.read_bytes() + bytes(size))
    (segment / "header.bin").write_bytes(content)
    time.sleep(0.05)
    torn = Saved(source_of(store, tmp_path / "scratch").capture())
    assert [(flaw.what, flaw.path.split(b"/")[1]) for flaw in torn.flaws] == [("partial", os.fsencode(segment.name))]
    assert "was a process killed" in torn.flaws[0].why


def test_what_did_not_change_since_the_last_night_is_not_read(filled_chroma: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    time.sleep(0.05)
    source = source_of(store, tmp_path / "scratch")
    first = Saved(source.capture())
    assert Saved(source.capture(), first).read == []
    chroma("touch", store)
    time.sleep(0.05)
    second = Saved(source.capture(), first)
    assert second.read == [b"store/chroma.sqlite3"]
    source.restore(second, second, tmp_path / "restored", Restoring())
    assert agree(source.examine(tmp_path / "restored"), second.facts)
    assert seen(tmp_path / "restored" / "store") == seen(store)


def test_a_folder_that_was_written_while_the_clock_was_ahead_is_captured_once_that_is_put_back(
    filled_chroma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.1)
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    told = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: told() - 3_600_000_000_000)
    source = source_of(store, tmp_path / "scratch")
    captured = Saved(source.capture())
    assert captured.flaws == []
    source.restore(captured, captured, tmp_path / "restored", Restoring())
    assert seen(tmp_path / "restored" / "store") == seen(store)


def test_what_lies_in_a_write_ahead_log_beside_the_database_makes_no_snapshot_incomplete(
    filled_chroma: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    source, repository = source_of(store, tmp_path / "scratch"), create(local(tmp_path / "there"))
    with closing(sqlite3.connect(store / DATABASE, isolation_level=None)) as user:
        assert user.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        user.execute("INSERT INTO tenants (id) VALUES (?)", ["x" * 300_000])
        before = (store / DATABASE).stat().st_size
        snapshot = repository.save(source.capture(), about(1), repository.destination)
        assert (store / DATABASE).stat().st_size == before, "the log is empty, so this has shown nothing"
    assert snapshot.flaws == ()
    items = repository.read(snapshot)
    source.restore(items, items, tmp_path / "restored", Restoring())
    assert agree(source.examine(tmp_path / "restored"), snapshot.facts)
    with closing(sqlite3.connect(tmp_path / "restored" / "store" / DATABASE)) as restored:
        assert restored.execute("SELECT max(length(id)) FROM tenants").fetchone() == (300_000,)


def test_bytes_behind_the_last_page_of_the_database_are_no_change(filled_chroma: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    with open(store / DATABASE, "ab") as file:
        file.write(bytes(5000))
    time.sleep(0.05)  # until the write shows in the file's time, whatever the steps of the clock
    repository = create(local(tmp_path / "there"))
    capture = source_of(store, tmp_path / "scratch").capture()
    assert repository.save(capture, about(1), repository.destination).flaws == ()

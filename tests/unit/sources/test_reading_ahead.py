"""Small files read by a process of its own: what comes is what comes without it, whatever happens to it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.item import Entry, Item, Vanished
from tasks.sources import reading_ahead
from tasks.sources.file_reader import FileReader
from tasks.sources.manner import Manner
from tasks.sources.selection import Selection
from tasks.sources.walk import Walk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is memory to share on Linux only")
ROOT = Path(__file__).parents[3]
_OLD = 1_600_000_000
Read = dict[bytes, tuple[Entry, bytes] | None]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "_LOOK", 8)
    monkeypatch.setattr(reading_ahead, "_PAYS", 1)
    monkeypatch.setattr(reading_ahead, "cores", lambda: 2)


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the processes that were started."""
    started: list[int] = []
    start = reading_ahead._Helper._start

    def counted(helper: reading_ahead._Helper) -> None:
        start(helper)
        assert helper._process
        started.append(helper._process.pid)

    monkeypatch.setattr(reading_ahead._Helper, "_start", counted)
    return started


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """2,000 files in folders: of all small sizes, some of them large, linked, or with attributes."""
    tree = tmp_path / "tree"
    for number in range(2000):
        file = tree / f"{number // 150:03}" / f"{number:05}"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = (0, 1, 300, 5000, 65535, 65536, 200_000)[number % 7] if number % 40 < 7 else number % 900
        file.write_bytes(bytes([number % 251]) * size)
        if number % 97 == 5:
            file.with_name(file.name + "-link").symlink_to(file)
        if number % 89 == 7:
            file.with_name(file.name + "-name").hardlink_to(file)
        if number % 101 == 50:
            os.setxattr(file, "user.number", str(number).encode())
        os.utime(file, (_OLD, _OLD))
    time.sleep(0.05)  # or the last ones would be so young that they are read again the next time
    return tree


def walk(tree: Path) -> Iterator[Item]:
    return iter(Walk({b"tree": os.fsencode(tree)}, Selection(), Manner(want_digest=True)))


def read(item: Item) -> tuple[Entry, bytes] | None:
    """As a repository does: at once where it can be."""
    buffer = memoryview(bytearray(1 << 18))
    if item.at_once and (entry := item.at_once(item.entry, buffer)):
        return entry, bytes(buffer[: entry.size])
    if not item.open:
        return item.entry, b""
    stream, size = item.open(), 0
    while count := stream.readinto(buffer[size:]):
        size += count
    return stream.close().entry, bytes(buffer[:size])


def read_all(tree: Path, between: Callable[[int], object] = lambda number: None) -> Read:
    found: Read = {}
    for number, item in enumerate(walk(tree)):
        between(number)
        found[item.entry.path] = read(item)
    return found


def alone(tree: Path) -> Read:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading_ahead, "cores", lambda: 1)
        return read_all(tree)


def test_what_is_read_ahead_is_what_is_read_alone(tree: Path, helpers: list[int]) -> None:
    asked_itself = []
    reader = FileReader.at_once

    def watched(*arguments: object) -> object:
        asked_itself.append(len(arguments[0].ahead))  # type: ignore[attr-defined]
        return reader(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FileReader, "at_once", watched)
        found = read_all(tree)
    assert found == alone(tree)
    assert len(helpers) == 1
    # Not that it came to nothing: most of the time something lay ready.
    assert sum(map(bool, asked_itself)) > 0.8 * len(asked_itself)


def test_nobody_is_started_where_files_are_not_read_or_only_some_are(tree: Path, helpers: list[int]) -> None:
    assert len(list(walk(tree))) > 2000
    for number, item in enumerate(walk(tree)):
        if number % 2:
            read(item)
    assert not helpers


def test_where_files_are_not_read_any_more_it_ends_and_begins_again_when_they_are(
    tree: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_ahead, "_MOST", 5)
    found = []
    for number, item in enumerate(walk(tree)):
        found.append(item.entry)
        if not 500 < number < 1500:
            read(item)
        if number == 1400:
            assert len(helpers) == 1
            assert not is_there(helpers[0])
    assert len(helpers) == 2
    assert found == [item.entry for item in walk(tree)]
    assert not any(map(is_there, helpers))


def test_a_helper_that_is_killed_is_not_missed(tree: Path, helpers: list[int]) -> None:
    def kill(number: int) -> None:
        if number == 700:
            os.kill(helpers[0], signal.SIGKILL)

    assert read_all(tree, kill) == alone(tree)


@pytest.mark.parametrize("takes", [True, False], ids=["gives no answer", "takes no question"])
def test_a_helper_that_is_stuck_is_given_up(
    tree: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    start, stopped = reading_ahead._Helper._start, []
    if not takes:
        # Each question is longer than the pipe.
        for _ in range(3):
            above = tree.rename(tree.with_name("x" * 200))
            tree.mkdir()
            above.rename(tree / above.name)

    def start_with(helper: reading_ahead._Helper) -> None:
        start(helper)
        assert helper._process
        assert helper._process.stdin
        if not takes:
            fcntl.fcntl(helper._process.stdin, fcntl.F_SETPIPE_SZ, 1 << 12)

    monkeypatch.setattr(reading_ahead._Helper, "_start", start_with)

    def stop(number: int) -> None:
        if number in (700, 1400) and is_there(helpers[-1]):
            os.kill(helpers[-1], signal.SIGSTOP)
            stopped.append(helpers[-1])
            # Not before: to start may take it longer.
            monkeypatch.setattr(reading_ahead, "_STUCK", 0.2)

    assert read_all(tree, stop) == alone(tree)
    assert stopped
    assert not any(map(is_there, helpers))


@pytest.mark.parametrize("program", ["/nonexistent", "/bin/false"])
def test_a_helper_that_can_not_be_started_is_not_missed(
    tree: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    expected = alone(tree)
    monkeypatch.setattr(sys, "executable", program)
    assert read_all(tree) == expected


def test_a_file_that_changes_before_it_is_read_is_what_it_is_then(tree: Path) -> None:
    """Or what it was when it was listed: those two, whole, and nothing in between."""
    names = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    before = alone(tree)

    def change(number: int) -> None:
        if number % 5 == 0 and number < len(names):
            names[number].write_bytes(b"changed %d" % number * 10)
            names[-number - 1].unlink(missing_ok=True)

    changed = 0
    for number, item in enumerate(walk(tree)):
        change(number)
        try:
            found = read(item)
        except Vanished:
            continue
        assert found is not None
        path = tree.parent / os.fsdecode(item.entry.path)
        if found != before[item.entry.path] and path.is_file() and not path.is_symlink() and found[1]:
            assert found[1] == path.read_bytes()
            changed += 1
    assert changed > 10


@pytest.mark.parametrize("happens", ["removed", "replaced"])
def test_the_second_name_of_a_file_brings_what_the_first_can_not(tmp_path: Path, happens: str) -> None:
    def found(folder: Path) -> dict[bytes, tuple[str, bytes, bytes]]:
        tree = folder / "tree"
        tree.mkdir(parents=True)
        for number in range(400):
            (tree / f"{number:03}").write_bytes(b"%d" % number)
        (tree / "300-b").hardlink_to(tree / "300")
        (folder / "new").write_bytes(b"another")
        made = {}
        for item in walk(tree):
            if item.entry.path == b"tree/290":
                (tree / "300").unlink()
                if happens == "replaced":
                    (folder / "new").rename(tree / "300")
            with suppress(Vanished):
                entry, content = read(item) or (item.entry, b"")
                made[entry.path] = entry.type, entry.link, content
        return made

    ahead = found(tmp_path / "ahead")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading_ahead, "cores", lambda: 1)
        assert found(tmp_path / "alone") == ahead
    assert ahead[b"tree/300-b"] == ("f", b"", b"300")


def test_the_walk_waits_for_what_is_large(tree: Path) -> None:
    waits = 0
    items = walk(tree)
    while (batch := reading_ahead._Batch(items)).items:
        large = [item.open is not None and item.entry.size >= 65536 for item in batch.items]
        assert not any(large[:-1])
        assert batch.is_last or not large[-1]
        waits += batch.is_last
    assert waits > 50


def test_what_others_set_up_for_every_python_is_not_taken_for_an_answer(
    tree: Path, tmp_path: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nprint('hello' * 1000, flush=True)\nsys.stdin.close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    assert read_all(tree) == alone(tree)
    assert len(helpers) == 1


def test_where_secrets_are_counted_nothing_is_read_ahead(tree: Path, helpers: list[int]) -> None:
    selection = Selection(secrets=["*-link"])
    for item in Walk({b"tree": os.fsencode(tree)}, selection, Manner(want_digest=True)):
        read(item)
    assert not helpers
    assert selection.facts()["secrets_left_out"]["count"] > 10


def test_whoever_stops_halfway_leaves_no_process(tree: Path, helpers: list[int]) -> None:
    items = walk(tree)
    for _ in range(600):
        read(next(items))
    assert is_there(helpers[0])
    items.close()  # type: ignore[attr-defined]
    assert not is_there(helpers[0])


def test_it_ends_when_whoever_it_reads_for_is_killed(tree: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from tasks.sources import reading_ahead
from tests.unit.sources.test_reading_ahead import read, walk
reading_ahead._LOOK, reading_ahead._PAYS, reading_ahead.cores = 8, 1, lambda: 2
start = reading_ahead._Helper._start
def told(helper):
    start(helper)
    print(helper._process.pid, flush=True)
reading_ahead._Helper._start = told
for number, item in enumerate(walk(Path({str(tree)!r}))):
    read(item)
    if number == 600:
        time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout
        helper = int(parent.stdout.readline())
        assert is_there(helper)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_there(helper) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_there(helper)


def is_there(process: int) -> bool:
    """And has not ended: whoever is to hear of it may be late."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False

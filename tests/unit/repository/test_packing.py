"""Buffers, drafts and the threads behind them: counted right, no deadlock, and every error reaches the caller."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.destinations import Data
from tasks.errors import BackupError, NoSpace, Refused, Unavailable
from tasks.repository import Repository, compression, packing, stored_index
from tasks.repository.block import TARGET, Draft, Profile
from tasks.repository.buffers import SIZE, Buffers
from tasks.repository.compression import FAST, Way
from tasks.repository.pack import CONTENT, NAME, BlockList, Encoded, SealedPack
from tests.contracts.child import Child
from tests.memory_source import MemoryCapture
from tests.repositories import about, create, keys, local, restored, save
from tests.unit.repository.test_reading import Counted

MIB = 1 << 20


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def within(seconds: float, work: Callable[[], object]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_a_buffer_is_free_again_when_its_last_holder_lets_go() -> None:
    buffers = Buffers(1)
    buffer = buffers.take()
    assert len(buffer.view) == SIZE
    buffers.hold(buffer)
    buffers.release(buffer)
    taken = threading.Event()

    def wait() -> None:
        buffers.take()
        taken.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert not taken.wait(0.05), "one holder is left"
    buffers.release(buffer)
    assert taken.wait(5)
    thread.join()


def test_whoever_waits_for_a_buffer_hears_of_an_error() -> None:
    buffers = Buffers(1)
    buffers.take()
    heard: list[str] = []

    def wait() -> None:
        try:
            buffers.take()
        except Unavailable as error:
            heard.append(str(error))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    buffers.break_off(Unavailable("gone"))
    thread.join(5)
    with pytest.raises(Unavailable):
        buffers.take()
    assert heard == ["gone"]


def draft(buffers: Buffers) -> Draft:
    return Draft(CONTENT, Profile(FAST), buffers)


def test_a_draft_joins_views_and_bytes_in_order() -> None:
    buffers = Buffers(2)
    first, second = buffers.take(), buffers.take()
    first.view[:10], second.view[:10] = b"0123456789", b"abcdefghij"
    made = draft(buffers)
    made.add_view(b"n" * 16, first, 0, 3)
    made.add_view(b"n" * 16, first, 3, 5)
    made.add_view(b"n" * 16, first, 7, 9)
    made.add_view(b"n" * 16, second, 2, 4)
    taken = made.take()
    assert bytes(taken.joined()) == b"01234" + b"78" + b"cd"
    assert list(taken.lengths) == [3, 2, 2, 2]
    assert (taken.size, made.size, bytes(made.names)) == (9, 0, b"")
    made.add(b"m" * 16, b"own")
    made.add_view(b"m" * 16, second, 0, 1)
    assert bytes(made.take().joined()) == b"owna"


def test_a_draft_that_settles_keeps_its_bytes_and_lets_its_buffer_go() -> None:
    buffers = Buffers(1)
    buffer = buffers.take()
    buffer.view[:4] = b"kept"
    made = draft(buffers)
    made.add_view(b"n" * 16, buffer, 0, 4)
    assert not made.settle()
    buffers.release(buffer)
    again = buffers.take()
    again.view[:4] = b"over"
    made.add_view(b"o" * 16, again, 0, 2)
    assert bytes(made.take().joined()) == b"keptov"


def test_a_large_draft_settles_by_being_sent() -> None:
    buffers = Buffers(1)
    made = draft(buffers)
    made.add_view(b"n" * 16, buffers.take(), 0, TARGET)
    assert made.settle()


class Failing(Counted):
    """Every put of a pack fails."""

    def __init__(self, folder: Path, error: BackupError, after: int = 0) -> None:
        super().__init__(local(folder))
        self._error, self._after = error, after

    def put(self, name: str, data: Data) -> None:
        if name.startswith("packs/"):
            self._after -= 1
            if self._after < 0:
                raise self._error
        super().put(name, data)


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("size", [1000, 150 * MIB], ids=["small", "large"])
def test_a_destination_that_refuses_packs_ends_the_capture_at_once(fast_path: Path, size: int, after: int) -> None:
    create(local(fast_path / "there"))
    failing = Failing(fast_path / "there", NoSpace("the disk is full"), after)
    repository = Repository.open(failing, keys().writer)
    scratch = fast_path / "scratch"
    scratch.mkdir()
    errors: list[BaseException] = []
    content = noise(1, 8 * MIB)
    files: dict[bytes, bytes] = {
        b"%03d" % at: bytes([at % 256]) * 9 + content[9:] for at in range(max(1, size // (8 * MIB)))
    }
    if size > MIB:
        files = {path: noise(at, 8 * MIB) for at, path in enumerate(files)}

    def capture() -> None:
        try:
            repository.save(MemoryCapture(files), about(0), failing, scratch=scratch)
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    assert within(60, capture), "the capture hangs"
    if after and not errors:
        assert size == 1000, "so few packs that none of them was refused"
        return
    assert [type(error) for error in errors] == [NoSpace]
    assert list(scratch.iterdir()) == [], "nothing unfinished is left"
    assert list(local(fast_path / "there").list("snapshots/")) == []
    whole = Repository.open(local(fast_path / "there"), keys().reader)
    assert whole.check("content").good
    assert restored(whole, save(whole, files, 1)) == files


class Stuck:
    """Encoding that does not go on in other threads than the one it was made in until it was done, or failed, there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
        self._encode, self._error = compression.encode, error
        self._caller, self._there = threading.get_ident(), threading.Event()
        monkeypatch.setattr(packing, "cores", lambda: 2)  # with many there may be a thread for each block
        monkeypatch.setattr(compression, "encode", self.encode)

    def encode(self, data: memoryview | bytes, way: Way) -> tuple[int, bytes | memoryview]:
        if threading.get_ident() != self._caller:
            assert self._there.wait(30), "the thread that reads waits, and does nothing"
        else:
            self._there.set()
            if self._error:
                raise self._error
        return self._encode(data, way)


def test_the_thread_that_reads_packs_too_where_others_do_not_keep_up(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stuck(monkeypatch)
    files = {b"a": noise(1, 60 * MIB)}
    assert restored(repository, save(repository, files, 0)) == files


@pytest.mark.parametrize("number", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("after", [0, 3, 1000], ids=["fails", "fails later", "succeeds"])
def test_however_many_threads_there_are_all_end(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    chance, encode, threads = random.Random(number), compression.encode, threading.active_count()

    def slowly(data: memoryview | bytes, way: Way) -> tuple[int, bytes | memoryview]:
        time.sleep(chance.uniform(0.002, 0.02))
        return encode(data, way)

    monkeypatch.setattr(packing, "cores", lambda: number)
    monkeypatch.setattr(compression, "encode", slowly)
    into = Failing(fast_path, Refused("not here"), after)
    create(local(fast_path))
    errors: list[BaseException] = []

    def capture() -> None:
        for turn in range(3):
            try:
                save(Repository.open(into, keys().writer), {b"a": noise(turn, 40 * MIB)}, turn, into=into)
            except BackupError as error:
                errors.append(error)

    assert within(60, capture), "the capture hangs"
    assert [type(error) for error in errors] == ([] if after == 1000 else [Refused] * len(errors))
    assert bool(errors) == (after != 1000)
    assert threading.active_count() == threads


@pytest.mark.parametrize("error", [Refused("not here"), KeyboardInterrupt("not here")])
def test_an_error_of_the_thread_that_reads_is_raised_there(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    Stuck(monkeypatch, error)
    threads = threading.active_count()
    with pytest.raises(type(error), match="not here"):
        save(repository, {b"a": noise(1, 60 * MIB)}, 0)
    assert threading.active_count() == threads


def test_a_full_disk_below_the_scratch_folder_is_no_space(fast_path: Path) -> None:
    create(local(fast_path / "there"))
    scratch = fast_path / "scratch"
    scratch.mkdir()

    def work() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
        repository = Repository.open(local(fast_path / "there"), keys().writer)
        try:
            repository.save(MemoryCapture({b"a": noise(1, 9 * MIB)}), about(0), repository.destination, scratch=scratch)
        except BackupError as error:
            return error.kind
        return "nothing was raised"

    assert Child(work).result() == "NoSpace"
    assert list(scratch.iterdir()) == []
    assert list(local(fast_path / "there").list("packs/")) == []


def test_a_scratch_folder_that_is_not_there_is_one_clear_error(repository: Repository, fast_path: Path) -> None:
    with pytest.raises(BackupError):
        repository.save(MemoryCapture({b"a": b"a"}), about(0), repository.destination, scratch=fast_path / "nowhere")


def test_no_thread_and_no_open_file_is_left_behind(repository: Repository, fast_path: Path) -> None:
    save(repository, {b"a": noise(1, MIB)}, 0)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    save(repository, {b"a": noise(2, 40 * MIB)}, 1)
    failing = Failing(fast_path / "there", Refused("no rights"))
    with pytest.raises(Refused):
        save(Repository.open(failing, keys().writer), {b"a": noise(3, 40 * MIB)}, 2, into=failing)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= files


def test_an_index_object_of_a_capture_is_small_enough_to_be_read_before_its_turn(repository: Repository) -> None:
    count, chance = packing._CHUNKS_AN_INDEX, random.Random(1)
    lengths = array("I", [chance.randrange(1 << 21) for _ in range(count)])
    listed = BlockList()
    listed.add(TARGET, Encoded(1, b"", TARGET, chance.randbytes(count * NAME), lengths))
    name = packing.put_index(
        repository.destination, repository.keys, [SealedPack(bytes(NAME), CONTENT, TARGET, listed)]
    )
    assert count * NAME < len(repository.destination.get(name)) <= stored_index._SMALL_BYTES

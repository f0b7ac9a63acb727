"""The record, on a real Redis."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis

from tasks.broker import connect
from tasks.errors import NotFound, Unavailable
from tasks.lease import Lease, LeaseLost
from tasks.progress import Teller
from tasks.record import Record, Run, step_name
from tasks.run_keys import check_run
from tests.flows.line import line_to
from tests.redis_process import RedisProcess, redis_process

Process = get_context("fork").Process
START = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


@pytest.fixture
def client(server: RedisProcess) -> Iterator[redis.Redis]:
    with closing(server.client()) as client:
        client.flushall()
        yield client


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def record(client: redis.Redis) -> Record:
    return Record(client)


def a_run(name: str = "run-1", slot: str = "", *steps: str) -> Run:
    return Run(name, "nightly", slot, START, steps or ("backup/config",))


def outcome(state: str = "done", **more: Any) -> dict[str, Any]:
    return {"verb": "backup", "source": "config", "state": state, "flaws": [], "failure": None} | more


def test_a_run_is_read_as_it_was_recorded(record: Record) -> None:
    run = a_run("run-1", "20261123T0230Z", "backup/config", "upload/config/here")
    assert record.begin(run) == run
    assert record.run("run-1") == run
    assert record.run("run-2") is None


def test_one_slot_of_a_plan_has_one_run(record: Record) -> None:
    first = record.begin(a_run("run-1", "slot"))
    assert record.begin(a_run("run-2", "slot")) == first
    assert record.run("run-2") is None
    assert record.begin(a_run("run-3", "another slot")).id == "run-3"


def test_runs_started_by_hand_never_stand_for_each_other(record: Record) -> None:
    assert [record.begin(a_run(name)).id for name in ("run-1", "run-2")] == ["run-1", "run-2"]


def test_many_that_begin_one_slot_at_once_get_one_run(record: Record) -> None:
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda number: record.begin(a_run(f"run-{number}", "slot")).id, range(40)))
    assert len(set(begun)) == 1


def test_the_newest_runs_come_first(record: Record) -> None:
    for day in (2, 3, 1):
        record.begin(Run(f"run-{day}", "", "", START.replace(day=day), ()))
    assert [run.id for run in record.runs()] == ["run-3", "run-2", "run-1"]
    assert [run.id for run in record.runs(limit=1)] == ["run-3"]


def test_the_first_outcome_of_a_step_is_the_one_that_stays(record: Record) -> None:
    assert record.settle("run-1", "backup/config", outcome("failed"))["state"] == "failed"
    assert record.settle("run-1", "backup/config", outcome("done"))["state"] == "failed"
    assert record.outcome("run-1", "backup/config") == outcome("failed")
    assert record.outcome("run-1", "upload/config/here") is None


def test_a_step_without_an_outcome_is_missing(record: Record) -> None:
    run = record.begin(a_run("run-1", "", "backup/config", "upload/config/here"))
    record.settle("run-1", "backup/config", outcome())
    assert record.missing(run) == ("upload/config/here",)


def test_long_texts_are_cut_before_they_are_recorded(record: Record) -> None:
    failure = {"kind": "Refused", "message": "x" * 5000}
    kept = record.settle("run-1", "s", outcome("failed", flaws=["y" * 5000] * 300, failure=failure))
    assert len(kept["flaws"]) == 100
    assert max(map(len, (*kept["flaws"], kept["failure"]["message"]))) <= 800


def test_everything_recorded_expires(record: Record, client: redis.Redis) -> None:
    record.begin(a_run("run-1", "slot"))
    record.mark_sent("run-1")
    record.settle("run-1", "backup/config", outcome())
    record.tell("run-1", "backup/config", {"done_bytes": 1})
    record.count_wait("run-1", "backup/config")
    record.take("run-1", "backup/config", "token", 5)
    record.keep_report("run-1", {"state": "done"})
    keys = [key for key in client.keys("*") if key != "geometra:runs"]
    assert len(keys) == 7
    assert all(0 < client.ttl(key) <= 90 * 86400 for key in keys)


def test_nothing_is_written_outside_the_prefix(record: Record, client: redis.Redis) -> None:
    record.begin(a_run("run-1", "slot"))
    record.settle("run-1", "backup/config", outcome())
    assert all(str(key).startswith("geometra:") for key in client.keys("*"))


def test_the_first_report_of_a_run_stays(record: Record) -> None:
    assert record.report("run-1") is None
    record.keep_report("run-1", {"state": "done"})
    assert record.keep_report("run-1", {"state": "failed"}) == {"state": "done"}


@pytest.mark.parametrize("name", ["", "../run", "a/b", "a:b", ".hidden", "x" * 101, "a\nb"])
def test_a_name_that_could_lead_elsewhere_is_no_run(name: str) -> None:
    with pytest.raises(NotFound):
        check_run(name)


def test_a_step_is_named_after_its_verb_source_and_destination() -> None:
    assert step_name("upload", "models", "offsite") == "upload/models/offsite"
    assert step_name("backup", "models") == "backup/models"


def test_a_broker_that_is_gone_is_unavailable() -> None:
    with redis_process() as server, closing(server.client()) as client:
        record = Record(client)
        record.begin(a_run())
        server.kill()
        with pytest.raises(Unavailable, match="broker"):
            record.run("run-1")


def test_a_lease_is_held_by_one(record: Record, locks: Path) -> None:
    with Lease(record, "run-1", "s", 5, locks=locks) as first:
        assert first.taken
        assert not Lease(record, "run-1", "s", 5, locks=locks).taken
        assert Lease(record, "run-1", "another", 5, locks=locks).taken
    assert Lease(record, "run-1", "s", 5, locks=locks).taken


def test_a_lease_outlives_its_time_while_it_is_held(record: Record, locks: Path) -> None:
    with Lease(record, "run-1", "s", 0.4, locks=locks) as held:
        time.sleep(1.2)
        assert record.is_leased("run-1", "s")
        held.check()


def test_a_lease_that_was_never_given_back_runs_out_and_is_counted(record: Record, locks: Path) -> None:
    for lost in range(3):
        lease = Lease(record, "run-1", "s", 0.05, locks=locks)
        assert (lease.taken, lease.lost) == (True, lost)
        time.sleep(0.1)
    with Lease(record, "run-1", "s", 5, locks=locks) as lease:
        assert lease.lost == 3
    assert Lease(record, "run-1", "s", 5, locks=locks).lost == 3


def test_the_lease_of_a_killed_process_is_free_at_once_but_after_another_loss_it_runs_out(
    record: Record, locks: Path
) -> None:
    def die() -> None:
        with Lease(record, "run-1", "s", 60, locks=locks):
            os.kill(os.getpid(), signal.SIGKILL)

    ended(die)
    again = Lease(record, "run-1", "s", 0.3, locks=locks)
    assert (again.taken, again.lost) == (True, 1)
    with again:
        assert not Lease(record, "run-1", "s", 60, locks=locks).taken
    ended(die)
    assert not Lease(record, "run-1", "s", 60, locks=locks).taken
    assert len(list(locks.iterdir())) == 1


def test_the_lease_of_a_stopped_process_or_of_another_host_is_not_free(record: Record, tmp_path: Path) -> None:
    def hold() -> None:
        with Lease(record, "run-1", "s", 60, locks=tmp_path / "a"):
            time.sleep(60)

    child = Process(target=hold)
    child.start()
    try:
        while not record.losses("run-1"):
            time.sleep(0.01)
        assert child.pid
        os.kill(child.pid, signal.SIGSTOP)
        for host in "ab":
            assert not Lease(record, "run-1", "s", 60, locks=tmp_path / host).taken
    finally:
        child.kill()
        child.join()
    assert not Lease(record, "run-1", "s", 60, locks=tmp_path / "b").taken
    assert Lease(record, "run-1", "s", 60, locks=tmp_path / "a").taken


def ended(work: Callable[[], None]) -> None:
    child = Process(target=work)
    child.start()
    child.join()


def test_who_wakes_up_after_the_step_was_done_finds_its_lease_lost(record: Record, locks: Path) -> None:
    with Lease(record, "run-1", "s", 0.2, locks=locks) as held:
        record.settle("run-1", "s", outcome())
        time.sleep(0.3)
        with pytest.raises(LeaseLost):
            held.check()


def test_who_was_stopped_for_longer_than_the_lease_finds_it_lost(
    record: Record, locks: Path, client: redis.Redis
) -> None:
    with Lease(record, "run-1", "s", 0.4, locks=locks) as held:
        assert held.is_held()
        client.delete("geometra:lease:run-1:s")
        assert record.take("run-1", "s", "another", 5) == 1
        assert not held.is_held()
        time.sleep(0.4)
        with pytest.raises(LeaseLost):
            held.check()
    assert not record.renew("run-1", "s", "not the holder", 5)


def test_who_was_cut_off_from_the_broker_for_longer_than_the_lease_is_no_loss(locks: Path) -> None:
    with (
        redis_process() as server,
        line_to(server.socket) as line,
        closing(server.client()) as client,
        closing(connect(f"redis://127.0.0.1:{line.port}", patient=False)) as by_line,
    ):
        record, cut_off = Record(client), Record(by_line)
        lease = Lease(cut_off, "run-1", "s", 0.4, locks=locks)
        with lease:
            line.cut()
            while record.is_leased("run-1", "s"):
                time.sleep(0.05)
            time.sleep(0.4)  # it tries to renew it meanwhile
            assert record.take("run-1", "s", "another", 60) == 1
            line.mend()
            time.sleep(0.4)
            with pytest.raises(LeaseLost):
                lease.check()
        assert record.losses("run-1") == {"s": 1}, "the other one's"
        record.release("run-1", "s", "another")
        assert record.losses("run-1") == {"s": 0}


def test_what_could_not_be_given_back_while_the_broker_was_away_is_given_back_later(locks: Path) -> None:
    with (
        redis_process() as server,
        line_to(server.socket) as line,
        closing(server.client()) as client,
        closing(connect(f"redis://127.0.0.1:{line.port}", patient=False)) as by_line,
    ):
        record = Record(client)
        with pytest.raises(Unavailable), Lease(Record(by_line), "run-1", "s", 0.4, locks=locks):
            line.cut()
        assert record.losses("run-1") == {"s": 1}
        line.mend()
        deadline = time.monotonic() + 20
        while record.losses("run-1") != {"s": 0}:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_lease_that_the_broker_forgot_is_taken_again(record: Record, locks: Path, client: redis.Redis) -> None:
    with Lease(record, "run-1", "s", 0.4, locks=locks) as held:
        client.flushall()
        time.sleep(0.3)
        assert record.is_leased("run-1", "s")
        held.check()


def test_progress_is_told_at_most_twice_a_second(record: Record) -> None:
    teller = Teller(record, "run-1", "s", lambda: None)
    for done in range(1000):
        teller({"done_bytes": done})
    assert record.progress("run-1")["s"]["done_bytes"] == 0
    time.sleep(0.55)
    teller({"done_bytes": 1000})
    told = record.progress("run-1")["s"]
    assert told["done_bytes"] == 1000
    assert abs(told["at"] - time.time()) < 5


def test_progress_is_shown_in_words_with_the_rate_of_the_last_seconds(record: Record) -> None:
    shown: list[str] = []
    teller = Teller(record, "run-1", "s", lambda: None, show=shown.append)
    with mock.patch("tasks.progress.time.monotonic") as clock:
        for second in range(10):
            clock.return_value = 1000.0 + second
            teller({"done_bytes": 2e6 * second, "total_bytes": 40e6})
        clock.return_value += 1
        teller({"done_bytes": 100})  # the next of several things
        clock.return_value += 2
        teller({"done_bytes": 2100})
    assert shown[0] == "0 B of 40.0 MB (0 %)"
    assert shown[9:] == ["18.0 MB of 40.0 MB (45 %), 2.0 MB/s", "100 B", "2.1 kB, 1.0 kB/s"]
    assert record.progress("run-1")["s"]["bytes_per_second"] == 1000


def test_work_goes_on_where_progress_can_t_be_shown(record: Record) -> None:
    def show(text: str) -> None:
        raise Unavailable("the broker does not answer")

    Teller(record, "run-1", "s", lambda: None, show=show)({"done_bytes": 1})


def test_progress_stops_work_that_someone_else_has_taken_over(record: Record) -> None:
    def check() -> None:
        raise LeaseLost("s")

    with pytest.raises(LeaseLost):
        Teller(record, "run-1", "s", check)({"done_bytes": 1})

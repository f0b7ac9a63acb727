"""Two hosts, each with a state folder and workers of its own, one broker, one destination that both see."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.capture import capture
from tasks.late import send_late
from tasks.record import Run
from tests.flows.house import VISIBILITY, House
from tests.flows.terminal import Terminal
from tests.flows.test_kills import reached
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.redis_process import redis_process

CAPTURES = "control,files,models"
SILENCE = timedelta(minutes=1)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[House, House]]:
    with redis_process() as broker:
        houses = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            houses.append(House(tmp_path / name, broker, host=name))
        try:
            yield houses[0], houses[1]
        finally:
            for house in houses:
                house.close()


def configure(hosts: tuple[House, House], sources: dict[str, Any], **destination: Any) -> None:
    place = local(hosts[0]) | destination
    for house in hosts:
        house.configure(sources, {"here": place})


def where(house: House, report: dict[str, Any]) -> dict[str, str]:
    """The host of each capture and upload."""
    return {
        step: outcome["host"]
        for step, outcome in house.record.outcomes(report["run"]).items()
        if step.startswith(("backup", "upload")) and outcome["state"] == "done"
    }


def spool(house: House) -> list[Path]:
    return list((house.folder / "state/spool").glob("*/*"))


def test_an_upload_runs_where_its_packs_lie_also_when_it_is_tried_again(hosts: tuple[House, House]) -> None:
    a, b = hosts
    configure(hosts, {"docs": tree(a, "docs", "docs"), "models": tree(a, "models", "models")})
    a.worker(queues="control,files,transfer,proof")
    b.worker(queues="models,transfer")
    store = a.folder / "store"
    run = a.start()
    report = a.report(run)
    assert report["state"] == "done", report["failures"]
    assert where(a, report) == {
        "backup/docs": "a",
        "upload/docs/here": "a",
        "backup/models": "b",
        "upload/models/here": "b",
    }
    assert (spool(a), spool(b)) == ([], [])
    # Again, with a destination that goes away between capture and upload.
    gate = a.folder / "gate"
    gate.touch()
    configure(hosts, {"models": tree(a, "models", "more", large=40_000_000)}, kind="gated", gate=gate)
    for house in hosts:
        house.close()
    a.worker(queues="control,transfer,proof")
    b.worker(queues="models")
    run = a.start()
    a.wait_for(lambda: a.record.outcome(run, "backup/models"), "the capture")
    store.rename(a.folder / "unmounted")
    gate.unlink()
    transfer = b.worker(queues="transfer")
    b.wait_for(lambda: any(line.get("event") == "waiting" for line in b.log()), "the wait for the destination")
    transfer.kill()  # and its worker is killed too
    (a.folder / "unmounted").rename(store)
    b.worker(queues="transfer")
    a.beat()
    report = a.report(run)
    assert report["state"] == "done", report["failures"]
    assert where(a, report) == {"backup/models": "b", "upload/models/here": "b"}
    assert (spool(a), spool(b)) == ([], [])
    assert_restores(a, {"models": originals_of(a, "more")["more"]})


def test_hosts_that_share_their_spool_upload_for_each_other(tmp_path: Path, hosts: tuple[House, House]) -> None:
    a, b = hosts
    shared = House(tmp_path / "b", a.broker, host="a")  # by another way to the same volume
    configure((a, b), {"docs": tree(a, "docs", "docs", large=9_000_000)})
    b.file.write_text(a.file.read_text().replace('state = "state"', f'state = "{a.folder / "state"}"'))
    try:
        a.worker(queues=CAPTURES)
        shared.worker(queues="transfer,proof")
        report = a.night()
    finally:
        shared.close()
    assert report["state"] == "done", report["failures"]
    assert spool(a) == []
    assert_restores(a, originals_of(a, "docs"))


def test_a_host_that_is_gone_is_reported_and_the_next_run_does_without_it(hosts: tuple[House, House]) -> None:
    """Until it comes back: then what it held is sent after all."""
    a, b = hosts
    configure(hosts, {"docs": tree(a, "docs", "docs"), "models": tree(a, "models", "models")})
    a.worker(queues="control,files,transfer,proof", GEOMETRA_BACKUP_HOST_GONE_SECONDS="4")
    capturing = b.worker(queues="models")
    run = a.start()
    a.wait_for(lambda: a.record.outcome(run, "backup/models"), "the capture")
    capturing.kill()
    a.beat()
    report = a.report(run)
    assert report["state"] == "failed"
    (failure,) = report["failures"]
    assert failure["step"] == "upload/models/here"
    assert "nobody took it" in failure["message"]
    assert "no worker serves the queue `transfer.b`" in failure["message"]
    assert report["recovery_point"]["sources"]["docs"]["proven"] == ["here"]
    assert spool(b)

    a.worker(queues="models")
    second = a.night()
    assert second["state"] == "done", second["failures"]
    assert set(where(a, second).values()) == {"a"}

    b.worker(queues="transfer")
    b.wait_for(lambda: not spool(b), "what the host held")
    assert len(a.installation.repository("models", "here").snapshots()) == 2
    shutil.rmtree(a.folder / "state/cache")
    assert_restores(a, originals_of(a, "docs", "models"))


def test_two_hosts_that_captured_the_same_both_send_it_the_same_day(hosts: tuple[House, House]) -> None:
    """As it happens where the broker lost what the first had done. However long the names are, they are told apart."""
    configure(hosts, {"docs": tree(hosts[0], "docs", "docs")})
    now = datetime.now(UTC)
    run = Run("r" * 100, "", "", now, ("backup/docs", "upload/docs/here"))
    for house in hosts:
        house.record.begin(run)
        assert capture(house.installation, "docs", run).state == "done"
    hosts[0].record.keep_report(run.id, {"state": "failed"})
    for house in hosts:
        with house.configured():
            assert send_late(house.installation, now, SILENCE) == ["upload/docs/here"]
            assert send_late(house.installation, now, SILENCE) == []
        house.worker(queues="transfer")
    for house in hosts:
        house.wait_for(lambda house=house: not spool(house), "an empty spool")  # type: ignore[misc]
    assert len(hosts[0].installation.repository("docs", "here").snapshots()) == 1


def test_what_a_host_whose_clock_is_behind_captures_is_no_older_than_its_run(hosts: tuple[House, House]) -> None:
    """Else it was older than yesterday's, and the night that had proven it let it go."""
    house, _ = hosts
    configure(hosts, {"docs": tree(house, "docs", "docs")})
    now = datetime.now(UTC)
    for number, clock in enumerate((now, now - timedelta(days=1), now + timedelta(minutes=20))):
        run = Run(f"run-{number}", "", "", now + timedelta(minutes=number), ("backup/docs", "upload/docs/here"))
        assert capture(house.installation, "docs", run, now=clock).state == "done"
    started = [sealed.folder for sealed in house.installation.spool.all_sealed()]
    assert len(started) == 3
    house.worker(queues="transfer")
    house.wait_for(lambda: not spool(house), "an empty spool")
    kept = house.installation.repository("docs", "here").snapshots()
    dates = {each.run: each.started for each in kept}
    assert dates == {"run-0": now, "run-1": now + timedelta(minutes=1), "run-2": now + timedelta(minutes=20)}


def test_a_late_upload_whose_message_was_lost_is_sent_again(hosts: tuple[House, House]) -> None:
    house, _ = hosts
    configure(hosts, {"docs": tree(house, "docs", "docs")})
    run = Run("lost", "", "", datetime.now(UTC), ("backup/docs", "upload/docs/here"))
    assert capture(house.installation, "docs", run).state == "done"
    late, soon = partial(send_late, house.installation, datetime.now(UTC)), timedelta(seconds=0.5)
    with house.configured():
        for _ in range(2):
            assert house.wait_for(lambda: late(soon), "its turn", 5) == ["upload/docs/here"]
            house.forget_messages()
        began = time.monotonic()
        assert house.wait_for(lambda: late(soon), "its turn", 10) == ["upload/docs/here"]
        assert time.monotonic() - began > soon.total_seconds(), "the longer nothing comes of it, the rarer"
        house.worker(queues="transfer")
        house.wait_for(lambda: not spool(house), "an empty spool")


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_worker_that_is_busy_is_not_asked_for_more(hosts: tuple[House, House], pool: str) -> None:
    """What it sends itself would wait in front of the uploads that come then."""
    house, _ = hosts
    sources = {"models": tree(house, "models", "models", large=40_000_000)}
    configure(hosts, sources)
    run = Run("left", "", "", datetime.now(UTC), ("backup/models", "upload/models/here"))
    assert capture(house.installation, "models", run).state == "done"
    gate = house.folder / "gate"
    gate.touch()
    configure(hosts, sources, kind="gated", gate=gate)
    house.worker(queues="transfer", pool=pool, concurrency=1)
    reached(house, gate)
    time.sleep(2 * VISIBILITY)  # four times its turn
    assert house.client.llen("transfer.a") <= 1, "but for one that was sent just before the upload began"
    gate.unlink()
    house.wait_for(lambda: not spool(house), "an empty spool")


def test_what_fails_by_the_configuration_of_another_host_is_told_with_its_name(hosts: tuple[House, House]) -> None:
    here, there = hosts
    configure(hosts, {"docs": tree(here, "docs", "docs")})
    there.configure(
        {"docs": tree(there, "docs", "docs") | {"paths": [there.folder / "nowhere"]}}, {"here": local(here)}
    )
    there.worker()
    report = here.night(sources=["docs"])
    (failure,) = report["failures"]
    assert (failure["step"], failure["host"]) == ("backup/docs", "b")
    told = {house: Terminal(house.folder).run("status", code=1, **house.environment).stdout for house in hosts}
    assert "the last run failed on `b`:" in told[here]
    assert "backup/docs on `b`: " in told[here]
    assert "on `b`" not in told[there]

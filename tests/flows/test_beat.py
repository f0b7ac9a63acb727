"""Beat with the real schedule: plans start by themselves, one beat is active, what was missed is made up for once."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.beat_record import BeatRecord
from tests.flows.house import House, Worker
from tests.flows.test_night import assert_restores, local, originals_of, tree
from workers.beat import OneBeat
from workers.schedule import beat_schedule

LEASE = 1.5
TAKEN_OVER = LEASE * 4 / 3 + 4
"""Seconds after a kill: the lease runs out, the others look three times in one; and some for a busy machine."""


def nightly(hours_ago: float = 2) -> dict[str, Any]:
    """A plan that was due so long ago."""
    due = datetime.now(UTC) - timedelta(hours=hours_ago)
    return {"schedule": f"{due.minute} {due.hour} * * *", "timezone": "UTC"}


def beats(house: House) -> BeatRecord:
    return BeatRecord(house.client)


def miss_three_nights(house: House) -> None:
    beats(house).mark("plan nightly", datetime.now(UTC) - timedelta(days=3))


def two_beats(house: House) -> dict[int, Worker]:
    """By their processes' ids."""
    started = [house.beat(GEOMETRA_BACKUP_BEAT_LEASE_SECONDS=str(LEASE)) for _ in "ab"]
    return {beat.child.pid: beat for beat in started}


def is_sent(house: House) -> bool:
    sent = beats(house).sent().get("plan nightly")
    return sent is not None and datetime.now(UTC) - sent < timedelta(minutes=5)


def pid_of_active(house: House) -> int:
    return int((beats(house).active() or "-0-").split("-")[1])


def test_a_night_missed_three_times_is_made_up_for_once_with_several_beats(house: House) -> None:
    plan = nightly()
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": plan})
    miss_three_nights(house)
    house.worker()
    two_beats(house)
    house.wait_for(lambda: is_sent(house), "the plan")
    runs = house.wait_for(house.record.runs, "the run")
    assert house.report(runs[0].id)["state"] == "done"
    (run,) = house.record.runs()
    minute, hour = plan["schedule"].split()[:2]
    assert (run.plan, run.slot[8:]) == ("nightly", f"T{int(hour):02}{int(minute):02}Z")
    said = [line["event"] for line in house.log() if line["event"] in ("beat is active", "beat stands by")]
    assert said.count("beat is active") == 1
    assert_restores(house, originals_of(house, "docs"))


def test_what_beat_has_done_every_few_seconds_leaves_no_results_behind(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker()
    house.beat()
    tended = {"event": "ended", "task": "plan.tend"}
    house.wait_for(
        lambda: sum(tended.items() <= line.items() for line in house.log()) > 1, "a run seen to, and another"
    )
    assert house.client.keys("celery-task-meta-*") == []


def test_another_beat_takes_over_soon_after_the_active_one_was_killed_and_goes_on_where_it_was(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": nightly()})
    running = {
        beat.child.pid: beat for beat in (house.beat(GEOMETRA_BACKUP_BEAT_LEASE_SECONDS=str(LEASE)) for _ in "ab")
    }
    first = house.wait_for(lambda: pid_of_active(house), "an active beat")
    house.wait_for(lambda: "plan nightly" in beats(house).sent(), "its first notes")
    time.sleep(LEASE)  # the other is up, and looks
    assert pid_of_active(house) == first
    miss_three_nights(house)  # as if it had been killed before it could send that
    running[first].kill()
    house.wait_for(lambda: pid_of_active(house) not in (0, first), "the other beat", TAKEN_OVER)
    house.wait_for(lambda: is_sent(house), "the plan", 10)
    house.worker()
    (run,) = house.wait_for(house.record.runs, "the run")
    assert house.report(run.id)["state"] == "done"
    # One that is stopped in good order leaves its place at once.
    (other,) = (beat for pid, beat in running.items() if pid != first)
    other.stop()
    assert beats(house).active() == ""


def test_a_beat_that_was_stopped_for_long_and_goes_on_begins_no_slot_again(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": nightly()})
    running = {
        beat.child.pid: beat for beat in (house.beat(GEOMETRA_BACKUP_BEAT_LEASE_SECONDS=str(LEASE)) for _ in "ab")
    }
    first = house.wait_for(lambda: pid_of_active(house), "an active beat")
    house.wait_for(lambda: "plan nightly" in beats(house).sent(), "its first notes")
    os.kill(first, signal.SIGSTOP)
    try:
        miss_three_nights(house)
        house.wait_for(lambda: is_sent(house), "the other beat")
        house.worker()
        (run,) = house.wait_for(house.record.runs, "the run")
        miss_three_nights(house)
        for beat in running.values():
            if beat.child.pid != first:
                beat.kill()
    finally:
        os.kill(first, signal.SIGCONT)
    house.wait_for(lambda: is_sent(house), "the first beat, which sends the same once more")
    assert house.report(run.id)["state"] == "done"
    started = house.wait_for(
        lambda: len(found := [line for line in house.log() if line["event"] == "run started"]) >= 2 and found,
        "both messages",
    )
    assert {line["run"] for line in started} == {run.id}
    assert [each.id for each in house.record.runs()] == [run.id]
    assert len(house.installation.repository("docs", "here").snapshots()) == 1


def test_a_clock_that_is_put_back_by_years_keeps_no_beat_from_what_is_due(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": nightly()})
    ahead = datetime.now(UTC) + timedelta(days=3650)
    beats(house).mark("plan nightly", ahead)
    assert beats(house).take("one that was killed", 3650 * 86400)
    house.beat(GEOMETRA_BACKUP_BEAT_LEASE_SECONDS=str(LEASE))
    house.wait_for(lambda: abs(beats(house).sent()["plan nightly"] - ahead) > timedelta(days=1), "the plan", 15)
    house.worker()
    (run,) = house.wait_for(house.record.runs, "the run")
    assert house.report(run.id)["state"] == "done"


def test_nor_one_that_was_active_meanwhile(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": nightly()})
    ahead = datetime.now(UTC) + timedelta(days=3650)
    with house.configured() as app:
        app.conf.beat_schedule = beat_schedule(house.installation.settings, timedelta(minutes=2))
        beat = OneBeat(app=app)
        beat.tick()
        for entry in beat.schedule.values():
            beats(house).mark(str(entry.name), ahead)
            entry.last_run_at = ahead
        beat._heap = None
        house.client.delete("control")
        for _ in beat.schedule:
            beat.tick()
        assert {message["headers"]["task"] for message in waiting(house)} == {"plan.start", "plan.tend"}
        assert all(sent < ahead - timedelta(days=1) for sent in beats(house).sent().values())
        beat.close()


def waiting(house: House) -> list[dict[str, Any]]:
    return [json.loads(text) for text in house.client.lrange("control", 0, -1)]


def hours(*ago: float) -> str:
    """A window, in UTC, from so many hours ago to so many."""
    return "-".join(f"{datetime.now(UTC) - timedelta(hours=each):%H:%M}" for each in ago)


def test_a_source_is_begun_only_in_its_window_and_the_report_says_where_it_could_not(house: House) -> None:
    """The plan was due two hours ago and is made up for now: each source has another window."""
    sources = {
        "anytime": tree(house, "docs", "anytime"),
        "open": tree(house, "docs", "open") | {"window": hours(3, -3)},
        "closed": tree(house, "docs", "closed") | {"window": hours(1.9, 1)},  # opens next after the plan is due again
        "later": tree(house, "docs", "later") | {"window": hours(-1, -5)},
    }
    house.configure(sources, {"here": local(house)}, {"nightly": nightly()})
    miss_three_nights(house)
    house.worker()
    house.beat()
    (run,) = house.wait_for(house.record.runs, "the run")
    waiting = {"backup/later", "upload/later/here", "verify/later/here", "prune/later/here"}
    house.wait_for(lambda: set(house.record.missing(run)) == waiting, "the others")
    states = {step: outcome["state"] for step, outcome in house.record.outcomes(run.id).items()}
    assert {states[f"prune/{source}/here"] for source in ("anytime", "open")} == {"done"}
    assert (states["backup/closed"], states["upload/closed/here"]) == ("failed", "skipped")
    failure = house.record.outcomes(run.id)["backup/closed"]["failure"]
    assert failure["kind"] == "WindowClosed"
    assert f"its window {sources['closed']['window']} opens at" in failure["message"]
    note = house.wait_for(lambda: house.record.notes(run.id).get("backup/later"), "the note")
    assert f"its window {sources['later']['window']} opens at" in note
    # By hand it is read now.
    by_hand = house.night(sources=["closed", "later"])
    assert by_hand["state"] == "done", by_hand["failures"]
    assert_restores(house, originals_of(house, "anytime", "open", "closed", "later"))


def test_runs_are_seen_to_by_a_worker_whose_clock_is_minutes_ahead_of_beat_s(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    entry = beat_schedule(house.installation.settings, every=timedelta(seconds=20))["tend runs"]
    expires = datetime.now(UTC) - timedelta(minutes=5) + timedelta(seconds=entry["options"]["expires"])
    house.worker()
    with house.app() as app:
        sent = app.send_task(entry["task"], queue="control", expires=expires)
        assert sent.get(timeout=60) is None

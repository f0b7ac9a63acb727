"""Beat with the real schedule: plans start by themselves, and a night that was missed is made up for once."""

from __future__ import annotations

import shelve
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.flows.house import House
from tests.flows.test_night import assert_restores, local, originals_of, tree


def test_a_night_missed_three_times_is_made_up_for_once_also_by_two_beats(house: House) -> None:
    due = datetime.now(UTC) - timedelta(hours=2)
    nightly = {"schedule": f"{due.minute} {due.hour} * * *", "timezone": "UTC"}
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": nightly})
    schedules = [house.folder / "state/beat-schedule", house.folder / "beat-schedule"]
    first = house.beat()
    house.wait_for(lambda: "plan nightly" in entries(schedules[0]), "the schedule's file")
    first.stop()
    with shelve.open(str(schedules[0])) as shelf:  # noqa: S301 - our own, made a moment ago
        kept = shelf["entries"]
        kept["plan nightly"].last_run_at -= timedelta(days=3)
        shelf["entries"] = kept
    for file in schedules[0].parent.glob("beat-schedule*"):  # one or more, as the platform's dbm has it
        shutil.copy(file, schedules[1].with_name(file.name))
    house.worker()
    for schedule in schedules:
        house.beat(schedule)
    house.wait_for(lambda: all(is_sent(schedule) for schedule in schedules), "both beats")
    runs = house.wait_for(house.record.runs, "the run")
    assert house.report(runs[0].id)["state"] == "done"
    time.sleep(1)
    assert [(run.plan, run.slot) for run in house.record.runs()] == [("nightly", f"{due:%Y%m%dT%H%MZ}")]
    assert_restores(house, originals_of(house, "docs"))


def entries(schedule: Path) -> dict[str, object]:
    try:
        with shelve.open(str(schedule), flag="r") as file:  # noqa: S301 - our own
            return dict(file["entries"])
    except Exception:  # noqa: BLE001 - not written yet, or in use
        return {}


def is_sent(schedule: Path) -> bool:
    entry = entries(schedule).get("plan nightly")
    return entry is not None and datetime.now(UTC) - entry.last_run_at < timedelta(minutes=5)  # type: ignore[attr-defined]

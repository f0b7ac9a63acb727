"""What Prometheus is told: true figures without a passphrase; and alert rules that fire on what is wrong and on nothing
else, as Prometheus' own tool evaluates them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tasks.capture import capture
from tasks.configuration import parse
from tasks.drill import drill
from tasks.installation import PASSPHRASE, Installation
from tasks.item import Unreadable
from tasks.outcome import Failure, Outcome
from tasks.record import Run
from tasks.report import compose
from tasks.report_files import write
from tasks.repository import Proof, Repository
from tasks.upload import upload
from tasks.verify import verify
from tests.memory_source import File
from tests.repositories import PASSPHRASE as RIGHT
from tests.repositories import keys, save
from workers import metrics
from workers.metrics import ALERTS, Gathered, LastRun, Place, Reading, families, read

TEXT = """
[sources.docs]
kind = "docs"
paths = ["documents"]
[destinations.here]
kind = "local"
path = "store"
[plans.nightly]
schedule = "30 1 * * *"
"""
NIGHT = datetime(2026, 11, 24, 1, 31, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STEPS = ("backup/docs", "upload/docs/here", "verify/docs/here", "prune/docs/here")
HERE = {"source": "docs", "destination": "here"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """As Flower has it: the writer's key, and no passphrase."""
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.delenv("GEOMETRA_BACKUP_BROKER", raising=False)
    for name in ("keys", "store", "documents"):
        (tmp_path / name).mkdir()
    (tmp_path / "documents/read.me").write_bytes(b"text" * 1000)
    keys().put_into(tmp_path / "keys")
    return Installation(parse(TEXT, tmp_path / "backup.toml"))


def night(house: Installation, name: str, when: datetime, *, proven: bool = True) -> None:
    capture(house, "docs", Run(name, "nightly", name, when, STEPS), now=when)
    upload(house, "docs", "here")
    if proven:
        verify(Installation(house.settings, RIGHT), "docs", "here")


def blank(step: str, figures: dict[str, float]) -> Outcome:
    verb, source, destination = (*step.split("/"), "")[:3]
    return Outcome(verb, source, destination, figures=figures)


def told(reading: Reading, now: datetime = NOON) -> Samples:
    """Through the text format and back, as a scrape is."""
    registry = CollectorRegistry()
    gathered = Gathered(None)  # type: ignore[arg-type]  # what is gathered already needs no installation
    gathered._reading = reading
    registry.register(gathered)
    samples: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        assert family.documentation
        samples |= {(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples}
    assert all(name.startswith("geometra_backup_") for name, _ in samples)
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"geometra_backup_{name}", frozenset(labels.items())]


def test_a_proven_night_is_told_without_the_passphrase(house: Installation) -> None:
    night(house, "first", NIGHT)
    samples = told(read(house, Reading(), NOON))
    assert value(samples, "last_success_timestamp_seconds", **HERE) == NIGHT.timestamp()
    assert value(samples, "last_proven_timestamp_seconds", **HERE) == NIGHT.timestamp()
    assert value(samples, "content_bytes", **HERE) == 4000
    assert 0 < value(samples, "stored_bytes", **HERE) < 4000
    assert value(samples, "snapshots", **HERE) == 1
    assert value(samples, "repository_readable", **HERE) == 1
    assert value(samples, "due_timestamp_seconds", **HERE) == datetime(2026, 11, 24, 1, 30, tzinfo=UTC).timestamp()
    assert value(samples, "reading_timestamp_seconds") == NOON.timestamp()
    now = datetime.now(UTC).timestamp()
    assert value(samples, "age_seconds", **HERE) == pytest.approx(now - NIGHT.timestamp(), abs=60)
    assert value(samples, "proof_age_seconds", **HERE) == pytest.approx(0, abs=60)


def test_a_snapshot_that_is_not_proven_is_a_success_and_no_proof(house: Installation) -> None:
    night(house, "first", NIGHT - timedelta(days=1))
    night(house, "second", NIGHT, proven=False)
    samples = told(read(house, Reading(), NOON))
    assert value(samples, "last_success_timestamp_seconds", **HERE) == NIGHT.timestamp()
    assert value(samples, "last_proven_timestamp_seconds", **HERE) == (NIGHT - timedelta(days=1)).timestamp()
    assert value(samples, "snapshots", **HERE) == 2


def test_a_drill_is_told_and_one_that_failed_is_no_proof(house: Installation) -> None:
    night(house, "first", NIGHT)
    assert value(told(read(house, Reading(), datetime.now(UTC))), "last_drill_timestamp_seconds", **HERE) == 0
    reader = Installation(house.settings, RIGHT)
    snapshot = drill(reader, "docs", "here").snapshot
    samples = told(read(house, Reading(), datetime.now(UTC)))
    drilled = value(samples, "last_drill_timestamp_seconds", **HERE)
    assert drilled == pytest.approx(datetime.now(UTC).timestamp(), abs=60)
    later = datetime.now(UTC) + timedelta(seconds=1)
    reader.repository("docs", "here", reader=True).prove(Proof(snapshot, "drill", later, good=False))
    samples = told(read(house, Reading(), datetime.now(UTC)))
    assert value(samples, "last_drill_timestamp_seconds", **HERE) == drilled
    assert value(samples, "last_proven_timestamp_seconds", **HERE) == 0


def test_an_incomplete_snapshot_is_no_success(house: Installation) -> None:
    repository = house.repository("docs", "here", create=True)
    whole = save(repository, {b"read.me": b"text"}, 1)
    save(repository, {b"read.me": File(b"text" * 9, fails_at=5, failure=Unreadable("input/output error"))}, 2)
    samples = told(read(house, Reading(), datetime.now(UTC)))
    assert value(samples, "last_success_timestamp_seconds", **HERE) == whole.started.timestamp()
    assert value(samples, "snapshots", **HERE) == 2


def test_never_is_zero_and_infinitely_old(house: Installation) -> None:
    samples = told(read(house, Reading(), NOON))
    for name in ("last_success_timestamp_seconds", "last_proven_timestamp_seconds", "last_proof_timestamp_seconds"):
        assert value(samples, name, **HERE) == 0
    assert value(samples, "age_seconds", **HERE) == value(samples, "proof_age_seconds", **HERE) == float("inf")


def test_a_destination_that_is_away_is_told_and_what_was_known_of_it_stays(house: Installation, tmp_path: Path) -> None:
    night(house, "first", NIGHT)
    before = read(house, Reading(), NOON)
    (tmp_path / "store").rename(tmp_path / "away")
    samples = told(read(Installation(house.settings), before, NOON))
    assert value(samples, "repository_readable", **HERE) == 0
    assert value(samples, "last_success_timestamp_seconds", **HERE) == NIGHT.timestamp()
    unknown = told(read(Installation(house.settings), Reading(), NOON))
    assert value(unknown, "repository_readable", **HERE) == 0
    assert not any(name == "geometra_backup_last_success_timestamp_seconds" for name, _ in unknown)


def test_a_destination_that_is_away_is_waited_for_once_for_all_its_sources(house: Installation, tmp_path: Path) -> None:
    night(house, "first", NIGHT)
    two = parse(TEXT + '[sources.more]\nkind = "docs"\npaths = ["documents"]\n', tmp_path / "backup.toml")
    before = read(Installation(two), Reading(), NOON)
    (tmp_path / "store").rename(tmp_path / "away")
    with mock.patch.object(Installation, "repository", autospec=True, side_effect=Installation.repository) as asked:
        samples = told(read(Installation(two), before, NOON))
    assert asked.call_count == 1
    for source in ("docs", "more"):
        assert value(samples, "repository_readable", source=source, destination="here") == 0
    assert value(samples, "last_success_timestamp_seconds", **HERE) == NIGHT.timestamp()


def test_a_destination_that_was_emptied_is_not_one_that_never_had_a_backup(house: Installation, tmp_path: Path) -> None:
    night(house, "first", NIGHT)
    shutil.rmtree(tmp_path / "store/docs")
    samples = told(read(Installation(house.settings), Reading(), NOON))
    assert value(samples, "repository_readable", **HERE) == 0
    assert not any(name == "geometra_backup_last_success_timestamp_seconds" for name, _ in samples)


def test_the_last_run_of_each_source_is_told_with_the_seconds_of_its_steps(house: Installation) -> None:
    figures = {"began_epoch_seconds": 100.0, "ended_epoch_seconds": 160.0}
    run = Run("20261124T013000Z-a", "nightly", "", NIGHT, STEPS)
    good = {step: blank(step, figures) for step in STEPS}
    write(house.reports, compose(run, good, NOON))
    samples = told(read(house, Reading(), NOON))
    assert value(samples, "last_run_success", **HERE) == 1
    assert value(samples, "last_run_timestamp_seconds", **HERE) == NOON.timestamp()
    assert value(samples, "duration_seconds", **HERE, verb="upload") == 60

    bad = good | {
        "verify/docs/here": Outcome("verify", "docs", "here", state="failed", failure=Failure("Damaged", "x"))
    }
    write(house.reports, compose(replace(run, id="20261125T013000Z-a"), bad, NOON))
    assert value(told(read(house, Reading(), NOON)), "last_run_success", **HERE) == 0
    del bad["verify/docs/here"]
    write(house.reports, compose(replace(run, id="20261126T013000Z-a"), bad, NOON))
    assert value(told(read(house, Reading(), NOON)), "last_run_success", **HERE) == 0


def test_a_plan_that_runs_often_does_not_hide_the_last_run_of_another(house: Installation) -> None:
    run = Run("night", "nightly", "", NIGHT, STEPS)
    bad = Outcome("prune", "docs", "here", state="failed", failure=Failure("Refused", "x"))
    write(house.reports, compose(run, {step: blank(step, {}) for step in STEPS} | {STEPS[-1]: bad}, NOON))
    often = compose(replace(run, steps=("backup/logs",)), {"backup/logs": blank("backup/logs", {})}, NOON)
    for number in range(288):
        write(house.reports, often | {"run": f"often-{number}"})
    assert value(told(read(house, Reading(), NOON)), "last_run_success", **HERE) == 0


def test_a_scrape_reads_nothing(house: Installation, tmp_path: Path) -> None:
    night(house, "first", NIGHT)
    gathered, registry = Gathered(house), CollectorRegistry()
    registry.register(gathered)
    assert b"geometra_backup_reading_timestamp_seconds 0.0" in generate_latest(registry)
    gathered.gather()
    for name in ("store", "keys"):
        shutil.rmtree(tmp_path / name)
    assert b'geometra_backup_snapshots{destination="here",source="docs"} 1.0' in generate_latest(registry)


def test_a_reading_reads_nothing_again_until_there_is_something_new(house: Installation) -> None:
    night(house, "first", NIGHT - timedelta(days=1))
    first = read(house, Reading(), NOON)
    with mock.patch.object(Repository, "proofs", side_effect=AssertionError):
        assert read(house, first, NOON).places == first.places
    night(house, "second", NIGHT, proven=False)
    second = read(house, first, NOON)
    assert value(told(second), "last_success_timestamp_seconds", **HERE) == NIGHT.timestamp()
    verify(Installation(house.settings, RIGHT), "docs", "here")
    assert value(told(read(house, second, NOON)), "last_proven_timestamp_seconds", **HERE) == NIGHT.timestamp()


def test_names_and_figures_are_all_that_is_told(house: Installation) -> None:
    night(house, "first", NIGHT)
    samples = told(read(house, Reading(), NOON))
    assert {label for _, labels in samples for label, _ in labels} <= {"source", "destination", "verb", "pool"}


# The rules, by promtool: its clock begins at the epoch, so the times here are small

END = 10 * 86400.0
PLACE = Place(
    readable=True, known=True, snapshots=9, success=END - 9e3, proven=END - 9e3, proof=END - 6e3, content_bytes=1e9
)
PAIR = ("docs", "here")
WELL = Reading(
    when=END,
    broker=True,
    places={PAIR: PLACE},
    runs={PAIR: LastRun(END - 5e3, True, {"backup": 60.0})},
    due={PAIR: END - 30_000},
    served={"proof": True, "files": True},
)


def with_place(**changed: Any) -> Reading:
    return replace(WELL, places={PAIR: replace(PLACE, **changed)})


CASES: dict[str, tuple[Reading | None, set[str]]] = {
    "all is well": (WELL, set()),
    "late": (with_place(success=END - 86_400, proven=END - 86_400), {"BackupLate", "BackupNotProven"}),
    "stored, but not proven": (with_place(proven=END - 86_400), {"BackupNotProven"}),
    "never": (with_place(success=0.0, proven=0.0, proof=0.0), {"BackupNever", "BackupNotProven"}),
    "never, and in no plan": (
        replace(with_place(success=0.0, proven=0.0, proof=0.0), due={}),
        {"BackupNever"},
    ),
    "failed": (replace(WELL, runs={PAIR: LastRun(END, False, {})}), {"BackupFailed"}),
    "an old proof": (with_place(proof=END - 9 * 86_400), {"BackupProofOld"}),
    "a disk that is not mounted": (with_place(readable=False), {"BackupRepositoryUnreadable"}),
    "away from the start": (
        replace(WELL, places={PAIR: Place()}),
        {"BackupRepositoryUnreadable"},
    ),
    "no worker for a pool": (replace(WELL, served={"proof": False, "files": True}), {"BackupPoolUnserved"}),
    "no broker": (replace(WELL, broker=False), {"BackupBrokerUnreachable"}),
    "a reading that hangs": (replace(WELL, when=END - 40_000), {"BackupMetricsStale"}),
    "no reading at all": (Reading(), {"BackupMetricsStale"}),
    "nobody to be asked": (None, {"BackupMetricsMissing"}),
}


def series(reading: Reading | None) -> list[dict[str, str]]:
    """The samples as promtool is given them, the same all the time."""
    if reading is None:
        return []
    now = datetime.fromtimestamp(END, UTC)
    return [
        {
            "series": sample.name + "{" + ", ".join(f'{name}="{text}"' for name, text in sample.labels.items()) + "}",
            "values": f"{min(sample.value, 1e12)}+0x{int(END / 7200)}",
        }
        for family in families(reading, now)
        for sample in family.samples
    ]


@pytest.mark.needs("promtool")
def test_every_rule_fires_on_what_is_wrong_and_on_nothing_else(tmp_path: Path) -> None:
    assert set().union(*(alerts for _, alerts in CASES.values())) == {rule["alert"] for rule in rules()}
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    tests = [
        {
            "name": name,
            "interval": "2h",
            "input_series": series(reading),
            "promql_expr_test": [
                {
                    "expr": firing,
                    "eval_time": "10d",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)],
                }
            ],
        }
        for name, (reading, alerts) in CASES.items()
    ]
    file = tmp_path / "tests.yml"
    text = {"rule_files": [str(ALERTS)], "evaluation_interval": "2h", "tests": tests}
    file.write_text(yaml.safe_dump(text))
    for command in (("check", "rules", str(ALERTS)), ("test", "rules", str(file))):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[Mapping[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def test_every_metric_that_a_rule_names_is_told() -> None:
    names = {sample.name for family in families(WELL, NOON) for sample in family.samples}
    for rule in rules():
        used = set(re.findall(r"geometra_backup_\w+", rule["expr"]))
        assert used
        assert used <= names
        assert {"summary", "description"} == set(rule["annotations"])


def test_a_backup_counts_as_late_six_hours_after_it_was_due_however_often_it_is(house: Installation) -> None:
    due = metrics._due(house, "docs", NOON - metrics.PATIENCE)
    assert due == datetime(2026, 11, 24, 1, 30, tzinfo=UTC).timestamp()
    morning = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    assert metrics._due(house, "docs", morning - metrics.PATIENCE) == due - 86_400

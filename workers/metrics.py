"""What Prometheus may know: of each source at each destination how old, how large, how long, proven or not. Gathered
now and then beside the scrapes, which only tell what was gathered; needs no passphrase."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tasks.broker import is_embedded
from tasks.errors import BackupError, NotARepository, Unavailable
from tasks.installation import Installation
from tasks.plan import last_expected
from tasks.record import Step
from tasks.report import last_reports
from tasks.report_files import KEPT
from tasks.repository import is_ahead, is_proven, last_good
from workers.pools import POOLS
from workers.unserved import unserved

ALERTS = Path(__file__).parent / "monitoring" / "alerts.yml"
"""Rules for Prometheus on what follows."""
EVERY = float(os.environ.get("GEOMETRA_BACKUP_METRICS_SECONDS", "300"))
"""Seconds between two readings: each lists the snapshots and proofs of every repository."""
PATIENCE = timedelta(hours=6)
"""How long after it was due a backup may be missing before it counts as late."""
REPORTS = KEPT
"""How many runs are looked through for the last one of each source: a day of a plan that runs every five minutes."""

Labels = tuple[str, ...]
"""Mostly a source and a destination."""

_PREFIX = "geometra_backup_"
_PLACE = ("source", "destination")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A source at a destination. Times are seconds since the epoch; 0 is *never*. `known` is False until its repository
    could be read once; afterwards `readable` tells whether it could be the last time."""

    readable: bool = False
    known: bool = False
    snapshots: int = 0
    success: float = 0.0
    proven: float = 0.0
    proof: float = 0.0
    drill: float = 0.0
    content_bytes: float = 0.0
    stored_bytes: float = 0.0
    listed: tuple[str, ...] = ()
    """The snapshots and proofs that this follows from: while there are no others, none is read again."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last finished run of a source at a destination. `seconds` by verb."""

    ended: float
    good: bool
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """`when` is 0 before the first one. `served` is None where there is nobody to ask."""

    when: float = 0.0
    broker: bool = False
    places: Mapping[Labels, Place] = field(default_factory=dict)
    runs: Mapping[Labels, LastRun] = field(default_factory=dict)
    due: Mapping[Labels, float] = field(default_factory=dict)
    served: Mapping[str, bool] | None = None


def read(installation: Installation, before: Reading, now: datetime) -> Reading:
    """All of it anew. What can't be reached keeps what was known `before`, and is told to be so."""
    settings = installation.settings
    pairs: list[Labels] = [(source, to) for source in settings.sources for to in settings.destinations_of(source)]
    places, away = dict[Labels, Place](), set[str]()
    for pair in pairs:
        known = before.places.get(pair, Place())
        # Each source of one that does not answer would wait for it as long again, and all that is told gets old.
        if pair[1] in away:
            places[pair] = replace(known, readable=False)
        else:
            places[pair] = _place(installation, pair, known, now=now, away=away)
    due = {pair: when for pair in pairs if (when := _due(installation, pair[0], now - PATIENCE))}
    broker, runs, served = True, before.runs, before.served
    try:
        runs = _last_runs(last_reports(installation, REPORTS), pairs)
        if not is_embedded(settings):
            missing = unserved(settings)
            served = {pool.name: pool.name not in missing for pool in POOLS}
    except BackupError as error:
        broker = False
        _log.warning("metrics without the broker", error=str(error))
    return Reading(now.timestamp(), broker, places, runs, due, served)


def _place(installation: Installation, pair: Labels, before: Place, *, now: datetime, away: set[str]) -> Place:
    """A destination that does not answer is added to `away`."""
    source, destination = pair
    try:
        repository = installation.repository(source, destination)
        folders = ("snapshots/", "proofs/")
        listed = tuple(each.name for folder in folders for each in repository.destination.list(folder))
        if before.known and listed == before.listed:
            return replace(before, readable=True)
        found = repository.readable_snapshots()
        complete = [each for each in found if each.complete and not is_ahead(each.started, now)]
        found_by = repository.proofs()
        proofs = {name: proofs[-1] for name, proofs in found_by.items() if is_proven(proofs)}
        drilled = last_good(found_by, "drill", now)
    except NotARepository:
        return Place(readable=True, known=True)  # never backed up
    except BackupError as error:
        away |= {destination} if isinstance(error, Unavailable) else set()
        _log.warning("metrics without a repository", source=source, destination=destination, error=str(error))
        return replace(before, readable=False)
    newest = complete[-1] if complete else None
    proven = next((snapshot for snapshot in reversed(complete) if snapshot.id in proofs), None)
    return Place(
        readable=True,
        known=True,
        snapshots=sum(name.startswith("snapshots/") for name in listed),
        success=newest.started.timestamp() if newest else 0.0,
        proven=proven.started.timestamp() if proven else 0.0,
        proof=proofs[proven.id].when.timestamp() if proven else 0.0,
        drill=drilled.timestamp() if drilled else 0.0,
        content_bytes=newest.figures.get("content_bytes", 0) if newest else 0,
        stored_bytes=newest.figures.get("stored_bytes", 0) if newest else 0,
        listed=listed,
    )


def _due(installation: Installation, source: str, until: datetime) -> float:
    settings = installation.settings
    plans = [plan for plan in settings.plans if source in settings.sources_of(plan)]
    due = [last_expected(settings, plan, source, until) for plan in plans]
    return max((moment.timestamp() for moment in due if moment), default=0.0)


def _last_runs(reports: Iterable[Mapping[str, Any]], pairs: Iterable[Labels]) -> dict[Labels, LastRun]:
    wanted, found = set(pairs), dict[Labels, LastRun]()
    for report in reports:
        outcomes = list(report["steps"].values())
        for source, destination in wanted & {(each["source"], each["destination"]) for each in outcomes}:
            steps = [o for o in outcomes if o["source"] == source and o["destination"] in ("", destination)]
            missing = any(
                step.source == source and step.destination in ("", destination)
                for step in map(Step.of, report["missing"])
            )
            good = not missing and all(step["state"] == "done" for step in steps)
            ended = datetime.fromisoformat(report["finished"]).timestamp()
            found[source, destination] = LastRun(ended, good, {step["verb"]: _seconds(step) for step in steps})
        wanted -= found.keys()
        if not wanted:
            break
    return found


def _seconds(step: Mapping[str, Any]) -> float:
    figures = step["figures"]
    return float(figures.get("ended_epoch_seconds", 0) - figures.get("began_epoch_seconds", 0))


_OF_A_PLACE: tuple[tuple[str, str, Callable[[Place, float], float]], ...] = (
    # name, what it says, from the place and the time now
    (
        "last_success_timestamp_seconds",
        "When the newest complete snapshot that is stored there was begun; 0: there is none",
        lambda place, now: place.success,
    ),
    ("age_seconds", "How old that snapshot is", lambda place, now: _age(place.success, now)),
    (
        "last_proven_timestamp_seconds",
        "When the newest snapshot that is complete and proven was begun; 0: nothing is proven",
        lambda place, now: place.proven,
    ),
    ("last_proof_timestamp_seconds", "When that one was last proven; 0: never", lambda place, now: place.proof),
    ("proof_age_seconds", "How old that proof is", lambda place, now: _age(place.proof, now)),
    ("last_drill_timestamp_seconds", "When a drill there was last good; 0: never", lambda place, now: place.drill),
    ("snapshots", "How many snapshots there are", lambda place, now: place.snapshots),
    ("content_bytes", "What the newest complete snapshot holds", lambda place, now: place.content_bytes),
    ("stored_bytes", "What it added to what is stored", lambda place, now: place.stored_bytes),
)


def families(reading: Reading, now: datetime) -> Iterator[GaugeMetricFamily]:
    """As Prometheus wants it. Of what was never reached there is no sample, rather than a wrong one."""
    yield _one("reading_timestamp_seconds", "When all of this was last gathered; 0: not yet", {(): reading.when})
    if not reading.when:
        return
    yield _one("broker_reachable", "Whether the broker answered then", {(): reading.broker})
    readable = {pair: place.readable for pair, place in reading.places.items()}
    yield _one("repository_readable", "Whether the repository could be read then", readable, _PLACE)
    known = {pair: place for pair, place in reading.places.items() if place.known}
    for name, text, value in _OF_A_PLACE:
        yield _one(name, text, {pair: value(place, now.timestamp()) for pair, place in known.items()}, _PLACE)
    yield _one(
        "due_timestamp_seconds", "When the source was last due, leaving out the last six hours", reading.due, _PLACE
    )
    ended = {pair: run.ended for pair, run in reading.runs.items()}
    yield _one("last_run_timestamp_seconds", "When the last run of the source ended", ended, _PLACE)
    good = {pair: run.good for pair, run in reading.runs.items()}
    yield _one("last_run_success", "Whether all its steps were done, and nothing was incomplete", good, _PLACE)
    seconds = {(*pair, verb): took for pair, run in reading.runs.items() for verb, took in run.seconds.items()}
    yield _one("duration_seconds", "How long a step of that run took", seconds, (*_PLACE, "verb"))
    if reading.served is not None:
        served: dict[Labels, float] = {(pool,): is_served for pool, is_served in reading.served.items()}
        yield _one("pool_served", "Whether a worker serves the pool", served, ("pool",))


def _one(name: str, text: str, samples: Mapping[Labels, float], labels: Labels = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
    for values, value in samples.items():
        family.add_metric(values, float(value))
    return family


def _age(stamp: float, now: float) -> float:
    return now - stamp if stamp else float("inf")


class Gathered(Collector):
    """For a registry of prometheus_client. A scrape is answered from the last reading; `start` has a thread renew it,
    so that a store that is slow or away holds up no scrape, and neither does it stop what else is told."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._reading = Reading()

    def gather(self) -> None:
        self._reading = read(self._installation, self._reading, datetime.now(UTC))

    def start(self) -> None:
        threading.Thread(target=self._keep, name="metrics", daemon=True).start()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return families(self._reading, datetime.now(UTC))

    def describe(self) -> list[GaugeMetricFamily]:
        """None beforehand: a registry that asks must not wait for a first reading."""
        return []

    def _keep(self) -> None:
        while True:
            try:
                self.gather()
            except Exception:  # noqa: BLE001 - the edge: `reading_timestamp_seconds` stands still, which a rule sees
                _log.exception("metrics not gathered")
            time.sleep(EVERY)

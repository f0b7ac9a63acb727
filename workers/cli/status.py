"""`status`: how things stand, in one screen: what is backed up, how old, proven or not, and what is next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

from rich.text import Text

from tasks.broker import broker_url, connect, is_embedded
from tasks.destinations.remote import RemoteSettings
from tasks.errors import BackupError, Damaged, NotARepository, Unavailable
from tasks.installation import Installation
from tasks.other_host import other_host
from tasks.plan import last_expected
from tasks.record import Record
from tasks.report_files import KEPT, read_reports
from tasks.repository import is_ahead
from tasks.settings import Settings
from workers.cli import screen
from workers.cli.list import rows
from workers.cli.main import subcommand
from workers.cli.session import Session

Pair = tuple[str, str]
"""A source and a destination."""

_PATIENCE = timedelta(minutes=1)
"""So long a destination that does not answer is asked again."""
_SHOWN = 5
_SILENCE = 5.0
"""After so many seconds a person is told who does not answer."""
_LOOKED_THROUGH = 100
"""How many runs at most are asked for at the broker."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """What the last run of a source failed with at a destination; `problem` is empty where it did not."""

    problem: str = ""
    run: str = ""
    unproven: frozenset[str] = frozenset()
    """It stored everything, and could not prove it by these verbs; no verify found anything damaged."""

    def is_made_up_for(self, newest: Mapping[str, Any]) -> bool:
        """By a verify or a drill since then: the snapshot of that run is proven."""
        proven = newest["run"] == self.run and newest["complete"] and newest["proven"]
        return bool(self.unproven and proven and ("drill" not in self.unproven or newest["drilled"]))


@subcommand("status")
def command(session: Session) -> int:
    """Of every source at every destination: the newest snapshot and the newest proof; and the last runs.

    Exits with 0 only if each source has a complete, proven snapshot at each destination since its plan was last due,
    and nothing waits for a source that is not configured any more.
    """
    now = datetime.now(UTC)
    session.tell_of_outdated()
    settings = session.settings
    pairs = [(source, to) for source in settings.sources for to in settings.destinations_of(source)]
    last, failed = _last_runs(session, pairs)
    places = _places(session, pairs, failed, now)
    places += _left_over(session)
    reports = [
        {name: report[name] for name in ("run", "plan", "state", "started", "seconds", "failures")} for report in last
    ]
    good = all(place["good"] for place in places)
    if session.as_json:
        screen.print_json({"good": good, "sources": places, "runs": reports})
    else:
        _print(places, reports, settings.host)
    return 0 if good else 1


def _places(
    session: Session, pairs: Sequence[Pair], failed: Mapping[Pair, _Failed], now: datetime
) -> list[dict[str, Any]]:
    """All destinations are asked at once: one that hangs takes a minute, and two must not take two."""
    session.installation  # noqa: B018 - made before all threads look at it
    looking = Installation(hasty(session.settings))

    def ask(destination: str, answer: Future[dict[Pair, dict[str, Any]]]) -> None:
        found, away = dict[Pair, dict[str, Any]](), dict[str, str]()
        try:
            for pair in pairs:
                if pair[1] == destination:
                    found[pair] = _place(session, looking, *pair, failed.get(pair, _Failed()), away=away, now=now)
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            answer.set_exception(error)
        else:
            answer.set_result(found)

    answers = {destination: Future[dict[Pair, dict[str, Any]]]() for _, destination in pairs}
    for destination, answer in answers.items():
        # One that hangs keeps nobody from ending who has pressed Ctrl-C.
        Thread(target=ask, args=(destination, answer), daemon=True, name=f"asking {destination}").start()
    silent = wait(answers.values(), _SILENCE).not_done
    for destination in (name for name, answer in answers.items() if answer in silent):
        text = f"`{destination}` has not answered yet: it is waited for, up to a minute."
        screen.errors.print(text, style="yellow", markup=False, soft_wrap=True)
    places = {pair: place for answer in answers.values() for pair, place in answer.result().items()}
    return [places[pair] for pair in pairs]


def hasty(settings: Settings) -> Settings:
    """With destinations that are given up sooner: somebody waits for what this says, and a step of a night can wait for
    minutes."""
    destinations = {
        name: each.model_copy(update={"deadline": min(each.deadline, _PATIENCE)})
        if isinstance(each, RemoteSettings)
        else each
        for name, each in settings.destinations.items()
    }
    return settings.model_copy(update={"destinations": destinations})


def _place(
    session: Session,
    looking: Installation,
    source: str,
    destination: str,
    failed: _Failed,
    *,
    away: dict[str, str],
    now: datetime,
) -> dict[str, Any]:
    """`away`: which destinations do not answer, and why. Each of their sources would wait for them as long again."""
    spool, problem = session.installation.spool, failed.problem
    place: dict[str, Any] = {"source": source, "destination": destination, "spooled": 0, "good": False}
    try:
        place["spooled"] = waiting = len(spool.pending(source, destination))
        unreadable = spool.unreadable(source)
    except BackupError as error:
        return place | {"problem": str(error)}
    if destination in away:
        return place | {"problem": away[destination]}
    try:
        listed = rows(source, destination, looking.repository(source, destination))
    except NotARepository:
        return place | {"problem": problem or "never backed up"}
    except BackupError as error:
        if isinstance(error, Unavailable):
            away[destination] = str(error)
        return place | {"problem": str(error)}
    if not listed:
        return place | {"problem": problem or "no snapshot"}
    newest = listed[-1]
    if failed.is_made_up_for(newest):
        problem = ""
    usable = (row for row in reversed(listed) if row["proven"] and row["complete"])
    proven = next((row for row in usable if not is_ahead(row["started"], now)), None)
    plans = [plan for plan in session.settings.plans if source in session.settings.sources_of(plan)]
    due = [last_expected(session.settings, plan, source, now) for plan in plans]
    since = max((moment for moment in due if moment), default=None)
    if unreadable:
        problem = unreadable[0]
    elif waiting:
        why = f"; {problem}" if problem else ""
        problem = f"{waiting} captures wait in the spool to be uploaded{why}"
    elif problem:
        pass
    elif proven is None:
        problem = "nothing is proven yet"
    elif since is not None and proven["started"] < since:
        problem = f"nothing proven since the plan was due, {since:%Y-%m-%d %H:%M} UTC"
    elif newest is not proven:
        problem = "the newest snapshot is not proven" if newest["complete"] else "the newest snapshot is incomplete"
    else:
        problem = other_host(session.settings, [row["host"] for row in listed])
    snapshots = {"newest": newest["snapshot"], "proven": proven["snapshot"] if proven else None}
    times = {"newest_started": newest["started"], "proven_started": proven["started"] if proven else None}
    return place | snapshots | times | {"snapshots": len(listed), "good": not problem, "problem": problem}


def _left_over(session: Session) -> Iterator[dict[str, Any]]:
    """What waits in the spool for a source that is not configured any more: nobody brings it, and it takes up room that
    all others need."""
    spool = session.installation.spool
    waiting = Counter(sealed.source for sealed in spool.all_sealed())
    for source in sorted(waiting.keys() - session.settings.sources.keys()):
        problem = (
            f"waits in the spool for a source that is not in backup.toml: put that back, under this name,"
            f" or remove `{spool.folder / source}`"
        )
        yield {"source": source, "destination": "", "spooled": waiting[source], "good": False, "problem": problem}


def _last_runs(session: Session, pairs: Sequence[Pair]) -> tuple[list[dict[str, Any]], dict[Pair, _Failed]]:
    """The reports of the last runs; and of each source and destination what its last run failed with. A plan that runs
    often must not hide the last run of another."""
    last, failed = list[dict[str, Any]](), dict[Pair, _Failed]()
    for report in _reports(session):
        if len(last) < _SHOWN:
            last.append(report)
        elif len(failed) == len(pairs):
            break
        for source, destination in pairs:
            steps = [outcome for outcome in report["steps"].values() if outcome["source"] == source]
            if (source, destination) not in failed and any(o["destination"] == destination for o in steps):
                bad = [o for o in steps if o["state"] == "failed" and o["destination"] in ("", destination)]
                failed[source, destination] = _failed(report["run"], bad, session.settings.host)
    return last, failed


def _failed(run: str, bad: Sequence[dict[str, Any]], here: str) -> _Failed:
    if not bad:
        return _Failed()
    proving = all(
        step["verb"] == "drill" or (step["verb"] == "verify" and step["failure"]["kind"] != Damaged.__name__)
        for step in bad
    )
    unproven = frozenset(step["verb"] for step in bad) if proving else frozenset[str]()
    where, message = screen.elsewhere(bad[0], here), bad[0]["failure"]["message"]
    return _Failed(f"the last run failed{where}: {message}", run, unproven)


def _reports(session: Session) -> Iterator[dict[str, Any]]:
    """Newest first, each once: those of every host, from the broker; and what ended on this host, from its files."""
    told, settings = set[str](), session.settings
    if not is_embedded(settings):
        try:
            record = Record(connect(broker_url(settings), patient=False))
            for report in filter(None, (record.report(run.id) for run in record.runs(_LOOKED_THROUGH))):
                told.add(report["run"])
                yield report
        except BackupError as error:
            text = f"only runs that ended on this host are known: {error}"
            screen.errors.print(text, style="yellow", markup=False, soft_wrap=True)
    yield from (report for report in read_reports(session.installation.reports, KEPT) if report["run"] not in told)


def _print(places: list[dict[str, Any]], reports: list[dict[str, Any]], here: str) -> None:
    screen.table(
        ("source", "at", ("snapshots", "right"), "newest", "newest proven", ("waiting", "right"), ""),
        [
            (
                place["source"],
                place["destination"],
                place.get("snapshots", 0),
                screen.age(place["newest_started"]) if place.get("newest_started") else "-",
                screen.age(place["proven_started"]) if place.get("proven_started") else "-",
                place["spooled"] or "",
                Text("good", style="green") if place["good"] else Text(place["problem"], style="red"),
            )
            for place in places
        ],
    )
    for report in reports:
        started = datetime.fromisoformat(report["started"])
        state = report["state"]
        name = f"{report['run']} {report['plan']}".rstrip()
        screen.console.print(
            f"run {name}: [{screen.STATE[state]}]{state}[/], {screen.age(started)},"
            f" {screen.duration(report['seconds'])}"
        )
        for failure in report["failures"][:5]:
            screen.failure(failure, here, indent=4)

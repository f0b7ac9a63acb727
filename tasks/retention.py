"""Which snapshots stay and which may go: rules over times and proofs. Pure: it deletes nothing and knows no clock.

A snapshot may go only if a newer one is complete and proven, so nothing goes until something newer is proven to
restore. Within a rule the better snapshot stands for its period: complete and proven, then complete, then proven, then
incomplete, and last what a proof found bad; the newest among equals. An older proven snapshot of a day is worth more
than a later one that nobody has read, and an incomplete one is still worth more than nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Generic, NamedTuple, Protocol, TypeVar

from tasks.settings import Keep


class SnapshotLike(Protocol):
    """What retention must know of a snapshot; `started` is aware."""

    @property
    def id(self) -> str: ...
    @property
    def started(self) -> datetime: ...
    @property
    def complete(self) -> bool: ...


S = TypeVar("S", bound=SnapshotLike)


class Judgement(NamedTuple, Generic[S]):
    """Whether a snapshot stays, and why, in words for the operator; every reason that holds, strongest first."""

    snapshot: S
    keep: bool
    reasons: tuple[str, ...]


def judge(  # noqa: PLR0917 - the protocol's own, and all that a judgement depends on
    snapshots: Iterable[S], proofs: Mapping[str, bool], rules: Keep, now: datetime, timezone: tzinfo
) -> list[Judgement[S]]:
    """One judgement for each snapshot of one source, oldest first, whatever the order given.

    `proofs` says of a snapshot's id whether its newest proof found it good. `timezone` tells days, weeks
    (ISO), months and years apart, and hours by their offset too, as one comes twice a year. A snapshot dated after
    `now` comes from a clock that was wrong: it stays, and counts neither in a rule nor as proof that others may go.
    """
    ordered = sorted(snapshots, key=_age)
    past = [snapshot for snapshot in ordered if snapshot.started <= now]
    newest_proven = max((one for one in past if one.complete and proofs.get(one.id)), key=_age, default=None)
    reasons: dict[str, list[str]] = {snapshot.id: [] for snapshot in ordered}

    for snapshot in ordered:
        if snapshot.started > now:
            date = snapshot.started.astimezone(timezone).strftime("%Y-%m-%d %H:%M")
            reasons[snapshot.id].append(f"dated in the future ({date}): was the clock of its host wrong?")
        elif newest_proven is None or snapshot.started >= newest_proven.started:
            proven = newest_proven is not None and snapshot.id == newest_proven.id
            reasons[snapshot.id].append("newest proven" if proven else "nothing newer is proven")

    def quality(one: S) -> tuple[bool, bool, bool, datetime, str]:
        return proofs.get(one.id, True), one.complete, proofs.get(one.id, False), *_age(one)

    # Broken snapshots take no place among the last: three failed nights must not push out the three good ones.
    last = sorted(past, key=lambda one: (one.complete and proofs.get(one.id, True), _age(one)), reverse=True)[
        : rules.last
    ]
    for place, snapshot in enumerate(last, start=1):
        reasons[snapshot.id].append(f"last {place} of {rules.last}")

    for name, amount, label in (
        ("hourly", rules.hourly, _hour),
        ("daily", rules.daily, _day),
        ("weekly", rules.weekly, _week),
        ("monthly", rules.monthly, _month),
        ("yearly", rules.yearly, _year),
    ):
        for period, members in _newest_periods(past, amount, label, timezone):
            reasons[max(members, key=quality).id].append(f"{name} {period}")

    for snapshot in past:
        if rules.within and now - snapshot.started <= rules.within:
            reasons[snapshot.id].append(f"within {_in_words(rules.within)}")

    return [_judgement(snapshot, reasons[snapshot.id], newest_proven) for snapshot in ordered]


def _judgement(snapshot: S, reasons: list[str], newest_proven: S | None) -> Judgement[S]:
    if reasons or newest_proven is None:
        return Judgement(snapshot, True, tuple(reasons))
    return Judgement(snapshot, False, (f"no rule keeps it, and {newest_proven.id} is newer and proven",))


def _age(snapshot: SnapshotLike) -> tuple[datetime, str]:
    return snapshot.started, snapshot.id


def _newest_periods(
    past: list[S], amount: int, label: Callable[[datetime], str], timezone: tzinfo
) -> list[tuple[str, list[S]]]:
    """The newest `amount` periods that hold a snapshot at all, so a month without backups pushes nothing out."""
    periods: dict[str, list[S]] = {}
    for snapshot in reversed(past):
        periods.setdefault(label(snapshot.started.astimezone(timezone)), []).append(snapshot)
    return list(periods.items())[:amount]


def _hour(local: datetime) -> str:
    return local.strftime("%Y-%m-%d %H:00 %z")


def _day(local: datetime) -> str:
    return local.strftime("%Y-%m-%d")


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02}"


def _month(local: datetime) -> str:
    return local.strftime("%Y-%m")


def _year(local: datetime) -> str:
    return local.strftime("%Y")


def _in_words(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{span}"

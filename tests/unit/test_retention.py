"""Retention: a table of cases, then what must hold for any history at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.retention import Judgement, judge
from tasks.settings import Keep

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Taken:
    id: str
    started: datetime
    complete: bool = True


def rules(**options: object) -> Keep:
    """One snapshot is the least that `last` can ask for; every other rule is off unless named."""
    nothing = {"last": 1, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0, "within": timedelta(0)}
    return Keep.model_validate({**nothing, **options})


def taken(when: str, *, complete: bool = True) -> Taken:
    return Taken(when, datetime.fromisoformat(when).replace(tzinfo=UTC), complete)


def kept(judgements: list[Judgement[Taken]]) -> list[str]:
    return [judgement.snapshot.id for judgement in judgements if judgement.keep]


def reasons(judgements: list[Judgement[Taken]]) -> dict[str, tuple[str, ...]]:
    return {judgement.snapshot.id: judgement.reasons for judgement in judgements}


# Each case: the rules, the snapshots as (time, `p`roven, `u`nproven, `b`ad, `i`ncomplete, `I`ncomplete but proven), and
# those that stay.
CASES: dict[str, tuple[Keep, str, str]] = {
    "only the last, when all are proven": (
        rules(),
        "2026-11-20p 2026-11-21p 2026-11-22p",
        "2026-11-22",
    ),
    "the last three": (
        rules(last=3),
        "2026-11-18p 2026-11-19p 2026-11-20p 2026-11-21p 2026-11-22p",
        "2026-11-20 2026-11-21 2026-11-22",
    ),
    "nothing goes while nothing is proven": (
        rules(),
        "2026-11-20u 2026-11-21u 2026-11-22u",
        "2026-11-20 2026-11-21 2026-11-22",
    ),
    "a proof of an incomplete snapshot lets nothing go": (
        rules(),
        "2026-11-20u 2026-11-21I",
        "2026-11-20 2026-11-21",
    ),
    "a bad snapshot lets nothing go": (
        rules(),
        "2026-11-20u 2026-11-21b",
        "2026-11-20 2026-11-21",
    ),
    "whatever came after the newest proven one stays": (
        rules(),
        "2026-11-18p 2026-11-19p 2026-11-20u 2026-11-21i 2026-11-22b",
        "2026-11-19 2026-11-20 2026-11-21 2026-11-22",
    ),
    "the newest proven stays, even where no rule asks for it": (
        rules(),
        "2026-11-01p 2026-11-22u",
        "2026-11-01 2026-11-22",
    ),
    "failed nights do not push good ones out of the last three": (
        rules(last=3),
        "2026-11-16p 2026-11-17p 2026-11-18p 2026-11-19i 2026-11-20b 2026-11-21i 2026-11-22p",
        "2026-11-17 2026-11-18 2026-11-22",
    ),
    "the newest of each day": (
        rules(daily=2),
        "2026-11-20T01:00p 2026-11-21T01:00p 2026-11-21T13:00p 2026-11-22T01:00p 2026-11-22T13:00p",
        "2026-11-21T13:00 2026-11-22T13:00",
    ),
    "days without a snapshot push nothing out": (
        rules(daily=3),
        "2026-03-01p 2026-06-01p 2026-11-21p 2026-11-22p",
        "2026-06-01 2026-11-21 2026-11-22",
    ),
    "a complete snapshot stands for its day before a later incomplete one": (
        rules(daily=2),
        "2026-11-21T01:00p 2026-11-21T13:00i 2026-11-22p",
        "2026-11-21T01:00 2026-11-22",
    ),
    "a proven snapshot stands for its day before a later unproven one": (
        rules(daily=2),
        "2026-11-21T01:00p 2026-11-21T13:00u 2026-11-22p",
        "2026-11-21T01:00 2026-11-22",
    ),
    "an incomplete snapshot stands for its day before a bad one": (
        rules(daily=2),
        "2026-11-21T01:00i 2026-11-21T13:00b 2026-11-22p",
        "2026-11-21T01:00 2026-11-22",
    ),
    "an incomplete snapshot is better than none": (
        rules(daily=2),
        "2026-11-21i 2026-11-22p",
        "2026-11-21 2026-11-22",
    ),
    "the newest of each ISO week, over New Year": (
        rules(weekly=3),
        "2026-12-27p 2026-12-28p 2026-12-31p 2027-01-03p 2027-01-04p",
        "2026-12-27 2027-01-03 2027-01-04",
    ),
    "the newest of each month": (
        rules(monthly=2),
        "2026-09-30p 2026-10-01p 2026-10-31p 2026-11-01p 2026-11-02p",
        "2026-10-31 2026-11-02",
    ),
    "the newest of each year": (
        rules(yearly=5),
        "2024-01-01p 2024-12-30p 2025-06-01p 2026-01-01p",
        "2024-12-30 2025-06-01 2026-01-01",
    ),
    "the newest of each hour": (
        rules(hourly=2),
        "2026-11-22T10:10p 2026-11-22T11:10p 2026-11-22T11:50p 2026-11-22T12:10p",
        "2026-11-22T11:50 2026-11-22T12:10",
    ),
    "days are the plan's, not UTC's": (
        rules(daily=3),
        "2026-11-20T22:30p 2026-11-20T23:30p 2026-11-21T22:30p 2026-11-22T10:00p",
        "2026-11-20T22:30 2026-11-21T22:30 2026-11-22T10:00",
    ),
    "the hour that comes twice is two hours": (
        rules(hourly=4),
        "2026-10-24T23:30p 2026-10-25T00:30p 2026-10-25T01:30p 2026-10-25T02:30p",
        "2026-10-24T23:30 2026-10-25T00:30 2026-10-25T01:30 2026-10-25T02:30",
    ),
    "the day of 25 hours is one day": (
        rules(daily=2),
        "2026-10-24T21:59p 2026-10-24T22:00p 2026-10-25T22:59p 2026-10-25T23:00p",
        "2026-10-25T22:59 2026-10-25T23:00",
    ),
    "everything within two days, to the second": (
        rules(within=timedelta(days=2)),
        "2026-11-21T11:59:59p 2026-11-21T12:00p 2026-11-22p 2026-11-23p",
        "2026-11-21T12:00 2026-11-22 2026-11-23",
    ),
    "a snapshot from the future stays, and is no proof that others may go": (
        rules(),
        "2026-11-20u 2026-11-21u 2099-01-01p",
        "2026-11-20 2026-11-21 2099-01-01",
    ),
    "a snapshot from the future takes no place in a rule": (
        rules(last=2, daily=2),
        "2026-11-20p 2026-11-21p 2026-11-22p 2099-01-01p",
        "2026-11-21 2026-11-22 2099-01-01",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stays(name: str) -> None:
    keep, history, expected = CASES[name]
    snapshots = [taken(one[:-1], complete=one[-1] not in "iI") for one in history.split()]
    proofs = {one[:-1]: one[-1] in "pI" for one in history.split() if one[-1] in "pbI"}
    now = datetime(2027, 1, 5, tzinfo=UTC) if "2027" in history else NOW
    assert kept(judge(snapshots, proofs, keep, now, BERLIN)) == expected.split()


def test_every_judgement_says_why() -> None:
    history = [taken(f"2026-11-{day:02}T02:00") for day in (1, 20, 21, 22, 23)]
    proofs = {one.id: True for one in history[:4]}
    keep = rules(last=2, daily=2, weekly=1, monthly=1, yearly=1, hourly=1, within=timedelta(days=1))
    assert reasons(judge([*history, taken("2027-01-01T00:30")], proofs, keep, NOW, BERLIN)) == {
        "2026-11-01T02:00": ("no rule keeps it, and 2026-11-22T02:00 is newer and proven",),
        "2026-11-20T02:00": ("no rule keeps it, and 2026-11-22T02:00 is newer and proven",),
        "2026-11-21T02:00": ("no rule keeps it, and 2026-11-22T02:00 is newer and proven",),
        "2026-11-22T02:00": (
            "newest proven",
            "last 2 of 2",
            "daily 2026-11-22",
            "monthly 2026-11",
            "yearly 2026",
        ),
        "2026-11-23T02:00": (
            "nothing newer is proven",
            "last 1 of 2",
            "hourly 2026-11-23 03:00 +0100",
            "daily 2026-11-23",
            "weekly 2026-W48",
            "within 1 day",
        ),
        "2027-01-01T00:30": ("dated in the future (2027-01-01 01:30): was the clock of its host wrong?",),
    }


def test_a_rule_that_is_off_is_no_reason() -> None:
    judgements = judge([Taken("a", NOW), Taken("b", NOW)], {"a": True, "b": True}, rules(), NOW, UTC)
    assert reasons(judgements) == {"a": ("nothing newer is proven",), "b": ("newest proven", "last 1 of 1")}


def test_no_snapshots_need_no_judgement() -> None:
    assert judge([], {}, Keep(), NOW, UTC) == []


def test_the_longest_span_that_can_be_written_is_no_error() -> None:
    keep = rules(within="99999w")
    assert kept(judge([taken("2026-11-22"), taken("2026-11-23")], {"2026-11-23": True}, keep, NOW, UTC)) == [
        "2026-11-22",
        "2026-11-23",
    ]


# Times lie close together and around both clock changes, so that ties, shared buckets and folds really occur.
TIMES = st.one_of(
    st.integers(-5, 96).map(lambda hours: NOW - timedelta(hours=hours)),
    st.integers(0, 80).map(lambda quarters: datetime(2026, 10, 24, 14, tzinfo=UTC) + timedelta(minutes=15 * quarters)),
    st.integers(0, 900).map(lambda days: NOW - timedelta(days=days)),
)
KEEPS = st.builds(
    rules,
    last=st.integers(1, 4),
    hourly=st.integers(0, 4),
    daily=st.integers(0, 4),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    yearly=st.integers(0, 3),
    within=st.integers(0, 50).map(lambda hours: timedelta(hours=hours)),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Taken], dict[str, bool]]:
    drawn = draw(st.lists(st.tuples(TIMES, st.booleans(), st.sampled_from([None, True, False])), max_size=25))
    snapshots = [Taken(f"s{place}", when, complete) for place, (when, complete, _) in enumerate(drawn)]
    return snapshots, {f"s{place}": proof for place, (_, _, proof) in enumerate(drawn) if proof is not None}


@settings(max_examples=300, deadline=None)
@given(histories(), KEEPS)
def test_the_newest_proven_and_all_after_it_always_stay(
    history: tuple[list[Taken], dict[str, bool]], keep: Keep
) -> None:
    snapshots, proofs = history
    judgements = judge(snapshots, proofs, keep, NOW, BERLIN)
    proven = [one.started for one in snapshots if one.complete and proofs.get(one.id) is True and one.started <= NOW]
    for judgement in judgements:
        if not judgement.keep:
            assert proven, "nothing was proven, yet something goes"
            assert judgement.snapshot.started < max(proven)
        assert judgement.reasons


@settings(max_examples=300, deadline=None)
@given(histories(), KEEPS, st.data())
def test_more_rules_never_keep_less(
    history: tuple[list[Taken], dict[str, bool]], keep: Keep, data: st.DataObject
) -> None:
    more = {name: data.draw(st.integers(0, 3)) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
    wider = {name: getattr(keep, name) + extra for name, extra in more.items()}
    greater = rules(**wider, within=keep.within + timedelta(hours=data.draw(st.integers(0, 50))))
    less = kept(judge(*history, keep, NOW, BERLIN))
    assert set(less) <= set(kept(judge(*history, greater, NOW, BERLIN)))


@settings(max_examples=300, deadline=None)
@given(histories(), KEEPS)
def test_judging_what_was_kept_keeps_all_of_it(history: tuple[list[Taken], dict[str, bool]], keep: Keep) -> None:
    snapshots, proofs = history
    once = [each.snapshot for each in judge(snapshots, proofs, keep, NOW, BERLIN) if each.keep]
    again = judge(once, proofs, keep, NOW, BERLIN)
    assert [each.snapshot for each in again if each.keep] == once


@settings(max_examples=200, deadline=None)
@given(histories(), KEEPS, st.randoms(use_true_random=False))
def test_the_order_given_does_not_matter(
    history: tuple[list[Taken], dict[str, bool]], keep: Keep, random: Random
) -> None:
    snapshots, proofs = history
    shuffled = list(snapshots)
    random.shuffle(shuffled)
    assert judge(shuffled, proofs, keep, NOW, BERLIN) == judge(snapshots, proofs, keep, NOW, BERLIN)


@settings(max_examples=200, deadline=None)
@given(histories(), KEEPS)
def test_a_day_that_counts_keeps_the_best_it_has(history: tuple[list[Taken], dict[str, bool]], keep: Keep) -> None:
    """An independent reading of the daily rule: newest days first, and in each the best, then the newest."""
    snapshots, proofs = history
    past = [one for one in snapshots if one.started <= NOW]
    days = sorted({one.started.astimezone(BERLIN).date() for one in past}, reverse=True)[: keep.daily]
    stays = set(kept(judge(snapshots, proofs, keep, NOW, BERLIN)))
    for day in days:
        of_day = [one for one in past if one.started.astimezone(BERLIN).date() == day]
        grades = [
            [one for one in of_day if one.complete and proofs.get(one.id) is True],
            [one for one in of_day if one.complete and proofs.get(one.id) is None],
            [one for one in of_day if not one.complete and proofs.get(one.id) is True],
            [one for one in of_day if not one.complete and proofs.get(one.id) is None],
            [one for one in of_day if proofs.get(one.id) is False],
        ]
        best = next(grade for grade in grades if grade)
        newest = max(one.started for one in best)
        assert stays & {one.id for one in best if one.started == newest or proofs.get(one.id) is False}

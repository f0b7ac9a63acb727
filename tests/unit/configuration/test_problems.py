"""What a valid backup.toml still does not say well."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tasks.configuration import parse, problems
from tests.unit.configuration.sample import BASE, HIDDEN, NIGHTLY, NOW, read


def concerns(text: str, now: datetime = NOW) -> list[str]:
    found = problems(read(text), now)
    assert all(problem.advice for problem in found)
    return [problem.what for problem in found]


def test_a_good_file_has_no_problems() -> None:
    assert concerns(BASE + NIGHTLY.format("30 1 * * *", "Europe/Berlin")) == []


def test_a_schedule_at_a_time_that_one_night_skips_says_when_it_will_run() -> None:
    assert concerns(BASE + NIGHTLY.format("30 2 * * *", "Europe/Berlin")) == [
        (
            "plans.nightly.schedule is due at 02:30, which 2027-03-28 in Europe/Berlin does not have, as the clocks go"
            " from 02:00 to 03:00; it starts at 03:30 that day"
        )
    ]


def test_a_skipped_time_follows_the_zone() -> None:
    (told,) = concerns(BASE + NIGHTLY.format("15 2 * * *", "Australia/Lord_Howe"))
    assert "2027-10-03" in told
    assert "from 02:00 to 02:30" in told
    assert "starts at 02:45" in told


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("30 2 * * *", "UTC"),
        ("30 2 * * *", "Asia/Kolkata"),
        ("30 3 * * *", "Europe/Berlin"),
        ("30 2 1 * *", "Europe/Berlin"),
        ("30 2 * * mon-sat", "Europe/Berlin"),
        ("30 * * * *", "Europe/Berlin"),
        ("*/10 * * * *", "Europe/Berlin"),
    ],
)
def test_a_schedule_that_no_clock_change_delays_is_no_problem(schedule: str, zone: str) -> None:
    assert concerns(BASE + NIGHTLY.format(schedule, zone)) == []


def windowed(schedule: str, window: str, jitter: str = "0s") -> str:
    plan = NIGHTLY.format(schedule, "UTC").replace("[plans.nightly]", f'[plans.nightly]\njitter = "{jitter}"')
    return f'timezone = "UTC"\n{BASE}window = "{window}"\n{plan}'


@pytest.mark.parametrize(
    ("schedule", "window", "jitter", "told"),
    [
        ("30 1 * * *", "01:00-05:00", "1h", ""),
        ("0 22 * * *", "22:00-06:00", "1h", ""),
        ("30 1 * * *", "04:00-05:00", "0s", "opens 2.5 h after plans.nightly is due, so its runs wait so long"),
        ("30 1 * * *", "01:00-02:00", "30m", "may have closed when plans.nightly starts, by its jitter"),
        ("0 8-20 * * *", "22:00-23:00", "0s", "opens only after plans.nightly is due again"),
    ],
)
def test_a_plan_and_a_window_that_do_not_meet_are_named(schedule: str, window: str, jitter: str, told: str) -> None:
    found = concerns(windowed(schedule, window, jitter))
    assert (told in found[0]) if told else found == []


def test_a_schedule_of_leap_days_is_named() -> None:
    assert concerns(BASE + NIGHTLY.format("0 12 29 2 *", "UTC")) == [
        "plans.nightly.schedule falls on 29 February only, so it runs once in four years"
    ]


def test_a_file_in_which_nothing_runs_by_itself_says_so() -> None:
    assert concerns(BASE + "[plans.by-hand]") == ["no plan has a schedule, so nothing is backed up by itself"]


def test_a_source_or_a_destination_that_nothing_uses_is_named() -> None:
    text = BASE + 'destinations = ["near"]\n[destinations.far]\nkind = "folder"\npath = "far"\n'
    text += '[sources.logs]\nkind = "files"\npaths = ["logs"]\ndestinations = ["near"]\n'
    text += NIGHTLY.format("30 1 * * *", "UTC") + 'sources = ["models"]'
    assert concerns(text) == [
        "sources.logs is in no plan that has a schedule, so it is never backed up by itself",
        "destinations.far is used by no source",
    ]


def test_a_destination_inside_a_source_is_named(tmp_path: Path) -> None:
    text = BASE.replace('"models"', '"."') + NIGHTLY.format("30 1 * * *", "UTC")
    assert sorted(concerns(text)) == [
        "sources.models holds `/srv/geometra/.geometra-backup`, which is state",
        "sources.models holds `/srv/geometra/backups`, which is destinations.near",
        "sources.models holds `/srv/geometra/keys`, which is keys.folder",
    ]
    left_out = 'exclude = ["/.geometra-backup/", "keys", "/back*/"]\n'
    assert concerns(BASE.replace('"models"', '"."') + left_out + NIGHTLY.format("30 1 * * *", "UTC")) == []
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "models")
    hidden = BASE.replace('"models"', f'"{tmp_path}/models"').replace('"backups"', f'"{tmp_path}/link/inside"')
    assert concerns(hidden + NIGHTLY.format("30 1 * * *", "UTC")) == [
        f"sources.models holds `{tmp_path}/link/inside`, which is destinations.near"
    ]


def test_two_destinations_in_one_place_are_named() -> None:
    text = BASE + '[destinations.copy]\nkind = "folder"\npath = "./backups"\n' + NIGHTLY.format("30 1 * * *", "UTC")
    assert concerns(text) == ["destinations.copy is the same place as destinations.near"]


def test_a_place_is_the_same_by_whatever_way_and_with_whatever_rights(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    text = f"""
        [sources.docs]
        kind = "docs"
        paths = ["/srv/docs"]
        [destinations.one]
        kind = "local"
        path = "{tmp_path}/disk"
        [destinations.two]
        kind = "local"
        path = "{tmp_path}/link"
        mounted = "/mnt"
        [destinations.far]
        kind = "s3"
        bucket = "backups"
        default_credentials = true
        [destinations.again]
        kind = "s3"
        bucket = "backups"
        connections = 8
        access_key = "env:KEY"
        secret_key = "env:SECRET"
        [destinations.other]
        kind = "s3"
        bucket = "backups"
        prefix = "other"
        default_credentials = true
    """
    found = [problem.what for problem in problems(parse(text)) if "same place" in problem.what]
    assert found == [
        "destinations.two is the same place as destinations.one",
        "destinations.again is the same place as destinations.far",
    ]


def test_secrets_that_are_missing_or_open_to_others_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    (tmp_path / "open").write_text(HIDDEN)
    (tmp_path / "open").chmod(0o644)
    text = 'broker = "env:NOT_SET"\n' + BASE + f'[sources.shop]\nkind = "database"\npassword = "file:{tmp_path}/open"\n'
    text += NIGHTLY.format("30 1 * * *", "UTC")
    assert concerns(text) == [
        "the environment variable `NOT_SET` is not set; it must hold a secret",
        f"other users can read the secret file `{tmp_path}/open`",
    ]
    (tmp_path / "open").chmod(0o640)
    assert concerns(text) == ["the environment variable `NOT_SET` is not set; it must hold a secret"]

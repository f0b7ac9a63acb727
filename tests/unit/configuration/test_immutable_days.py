"""How long a lock may be, and where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.configuration import parse
from tasks.errors import SettingsError

TEXT = """\
{top}
[destinations.far]
kind = "{kind}"
{options}
immutable_days = {days}
[sources.docs]
kind = "docs"
paths = ["docs"]
"""
S3 = 'bucket = "backups"\ndefault_credentials = true'


def told(days: str, *, top: str = "", kind: str = "s3", options: str = S3) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(TEXT.format(top=top, kind=kind, options=options, days=days), Path("backup.toml"))
    (line,) = str(caught.value).splitlines()
    return line.removeprefix("backup.toml, ")


def test_a_lock_has_to_outlast_the_grace_period() -> None:
    assert told("5") == (
        "line 6, destinations.far.immutable_days: must be at least 6: a lock has to outlast `grace` (3d) by a day, when"
        " a quarter of it is over"
    )
    assert "must be at least 11" in told("10", top='grace = "1w"')
    parse(TEXT.format(top='grace = "1w"', kind="s3", options=S3, days="11"))


def test_what_is_no_number_of_days_is_refused() -> None:
    assert told('"30d"').endswith("must be a whole number, without quotes, not text")
    assert told("0").endswith("must be at least 1")
    assert told("100000").endswith("must be at most 3650")


def test_a_folder_can_not_lock_and_the_error_says_what_to_do_instead() -> None:
    line = told("30", kind="local", options='path = "/mnt"')
    assert line.startswith("line 2, destinations.far: `immutable_days` is for `s3`, `azure` and `gcs`")
    assert "`geometra-backup policy`" in line


def test_a_trial_of_nothing_is_refused() -> None:
    text = TEXT.format(top="", kind="s3", options=S3, days=30).replace("immutable_days = 30", "immutable_trial = true")
    with pytest.raises(SettingsError, match="`immutable_trial` locks nothing without `immutable_days`"):
        parse(text, Path("backup.toml"))


def test_a_moment_of_the_past_needs_its_zone() -> None:
    text = TEXT.format(top="", kind="s3", options=S3 + '\nas_of = "{}"', days=30)
    parse(text.format("2026-11-20T03:00:00Z"), Path("backup.toml"))
    parse(text.replace('"{}"', "2026-11-20T03:00:00+01:00"), Path("backup.toml"))
    for wrong in ("2026-11-20T03:00:00", "yesterday"):
        with pytest.raises(SettingsError, match="use a time with its zone"):
            parse(text.format(wrong), Path("backup.toml"))

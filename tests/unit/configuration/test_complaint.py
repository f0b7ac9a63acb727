"""Every fault of backup.toml is one line that says where it is and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.configuration import parse
from tasks.errors import SettingsError
from tests.unit.configuration.sample import BASE, faults

CASES: dict[str, tuple[str, str]] = {
    "a misspelt option": (
        BASE + "pathz = 3",
        "line 7, sources.models.pathz: unknown key; did you mean `paths`?",
    ),
    "jitter as long as the time between two starts": (
        BASE + '[plans.nightly]\nschedule = "*/30 * * * *"\njitter = "30m"',
        "line 9, plans.nightly.jitter: must be shorter than the time between two starts, which is 30m",
    ),
    "no window": (
        BASE + 'window = "night"\n[plans.nightly]',
        "line 7, sources.models.window: a window is two times of the day, such as `22:00-06:00`",
    ),
    "an option that nothing is near to": (
        BASE + '[plans.nightly]\nzzz = "x"',
        (
            "line 8, plans.nightly.zzz: unknown key; there is `schedule`, `timezone`, `jitter`, `catch_up`, `sources`,"
            " `keep`"
        ),
    ),
    "an option of the whole file below a table": (
        BASE + 'timezone = "UTC"',
        "line 7, sources.models.timezone: unknown key here; it belongs at the top of the file, above the first [table]",
    ),
    "a misspelt option in an inline table": (
        BASE + "[plans.nightly]\nkeep = { dialy = 3 }",
        "line 8, plans.nightly.keep.dialy: unknown key; did you mean `daily`?",
    ),
    "a dotted key": (
        BASE + "[plans.nightly]\nkeep.last = 0",
        "line 8, plans.nightly.keep.last: must be at least 1",
    ),
    "too much": (
        BASE + "depth = 12",
        "line 7, sources.models.depth: must be at most 9",
    ),
    "no kind": (
        BASE + '[sources.logs]\npaths = ["x"]',
        "line 7, sources.logs: `kind` is missing; it is one of `files`, `database`",
    ),
    "a misspelt kind": (
        BASE + '[sources.logs]\nkind = "filse"\npaths = ["x"]',
        "line 8, sources.logs.kind: there is no such kind of source; did you mean `files`?",
    ),
    "a misspelt kind of destination": (
        BASE + '[destinations.far]\nkind = "floder"\npath = "x"',
        "line 8, destinations.far.kind: there is no such kind of destination; did you mean `folder`?",
    ),
    "a kind that is no text": (
        BASE + "[sources.logs]\nkind = [1]",
        "line 8, sources.logs.kind: there is no such kind of source; there is `files`, `database`",
    ),
    "a missing option": (
        BASE + '[sources.logs]\nkind = "files"',
        "line 7, sources.logs.paths: `paths` is missing; add it: folders and files to back up",
    ),
    "a text where a list must be": (
        BASE.replace('["models"]', '"models"'),
        'line 6, sources.models.paths: must be a list in brackets, such as ["one", "two"], not text',
    ),
    "an empty path in a list": (
        BASE.replace('["models"]', '["models", ""]'),
        "line 6, sources.models.paths: an empty path; write `.` for the folder that this file is in",
    ),
    "an empty path": (
        BASE + '[destinations.far]\nkind = "folder"\npath = ""',
        "line 9, destinations.far.path: an empty path; write `.` for the folder that this file is in",
    ),
    "an empty list where one is needed": (
        BASE.replace('["models"]', "[]"),
        "line 6, sources.models.paths: must hold at least 1",
    ),
    "a number in a list of texts, on its own line": (
        BASE.replace('["models"]', '[\n  "models",\n  # a comment\n  7,\n]'),
        "line 9, sources.models.paths[1]: must be a path: text in quotes, not a whole number",
    ),
    "a text where a switch must be": (
        BASE + 'follow = "nope"',
        "line 7, sources.models.follow: must be `true` or `false`, without quotes, not text",
    ),
    "a choice that there is not": (
        BASE + 'mode = "smoe"',
        "line 7, sources.models.mode: there is no such choice; did you mean `some`?",
    ),
    "a quoted number": (
        BASE + '[plans.nightly.keep]\ndaily = "7"',
        "line 8, plans.nightly.keep.daily: must be a whole number, without quotes, not text",
    ),
    "a switch where a number must be": (
        BASE + "[plans.nightly.keep]\ndaily = true",
        "line 8, plans.nightly.keep.daily: must be a whole number, without quotes, not a true or false",
    ),
    "a time where a schedule must be": (
        BASE + "[plans.nightly]\nschedule = 02:30:00",
        "line 8, plans.nightly.schedule: must be text in quotes, not a date or time",
    ),
    "a schedule that is none": (
        BASE + '[plans.nightly]\nschedule = "daily"',
        (
            "line 8, plans.nightly.schedule: a schedule has five fields, minute hour day-of-month month day-of-week,"
            " such as `30 1 * * *`; this one has 1"
        ),
    ),
    "a schedule whose time never comes": (
        BASE + '[plans.nightly]\nschedule = "30 2 30 2 *"',
        "line 8, plans.nightly.schedule: its time never comes: there is no 30 February; choose another day or month",
    ),
    "a bad duration": (
        BASE + '[plans.nightly.keep]\nwithin = "2 fortnights"',
        "line 8, plans.nightly.keep.within: use a number and a unit in quotes: s, m, h, d or w, such as `36h`",
    ),
    "a bare number for a duration": (
        "grace = 3\n" + BASE,
        "line 1, grace: use a number and a unit in quotes: s, m, h, d or w, such as `36h`",
    ),
    "a grace of nothing": (
        'grace = "0d"\n' + BASE,
        "line 1, grace: must be more than 0 seconds",
    ),
    "a bad time zone": (
        'timezone = "Berlin"\n' + BASE,
        "line 1, timezone: `Berlin` is no time zone; did you mean `Europe/Berlin`?",
    ),
    "a source to an unknown destination": (
        BASE + 'destinations = ["naer"]',
        "line 7, sources.models.destinations[0]: there is no destination `naer`; did you mean `near`?",
    ),
    "a plan of an unknown source": (
        BASE + '[plans.nightly]\nsources = [\n  "models",\n  "model",\n]',
        "line 10, plans.nightly.sources[1]: there is no source `model`; did you mean `models`?",
    ),
    "a plan of a source that differs by a capital": (
        BASE + '[plans.nightly]\nsources = ["Models"]',
        "line 8, plans.nightly.sources[0]: there is no source `Models`; did you mean `models`?",
    ),
    "a source named twice": (
        BASE + '[plans.nightly]\nsources = ["models", "models"]',
        "line 8, plans.nightly.sources[1]: `models` is named twice; once is enough",
    ),
    "two plans of one name": (
        BASE + '[plans.nightly]\nschedule = "30 1 * * *"\n[plans.nightly]\nschedule = "30 2 * * *"\n',
        "line 9, plans.nightly: the plan `nightly` is defined twice, first in line 7; give one of them another name",
    ),
    "two sources of one name": (
        BASE + '[sources.models]\nkind = "files"\npaths = ["x"]',
        "line 7, sources.models: the source `models` is defined twice, first in line 4; give one of them another name",
    ),
    "one option twice": (
        BASE + 'paths = ["x"]',
        "line 7, sources.models.paths: `paths` is set twice, first in line 6; keep one of them",
    ),
    "a table twice": (
        BASE + "[keys]\n[plans.a]\n[keys]",
        "line 9, keys: the table `keys` is there twice, first in line 7; make one of the two",
    ),
    "a value and a table": (
        "keys = 3\n" + BASE + "[keys.x]\n",
        "line 8: this clashes with what is set above: a value there, a table here; keep one",
    ),
    "a name that is none": (
        BASE + '[sources."Big Models"]\nkind = "files"\npaths = ["x"]',
        (
            'line 7, sources."Big Models": a name has lower-case letters, digits, - and _, begins with a letter or'
            " digit, and has at most 64 of them"
        ),
    ),
    "a source that is no table": (
        "[destinations.near]\nkind = 'folder'\npath = 'x'\n[sources]\nmodels = 'files'",
        "line 5, sources.models: must be a table, `[sources.NAME]` with its options below, not text",
    ),
    "sources that are no tables": (
        'sources = ["models"]\n' + BASE.partition("[sources")[0],
        "line 1, sources: must be tables with names, such as `[sources.NAME]`, not a list",
    ),
    "a plan that is no table": (
        BASE + "[plans]\nnightly = 3",
        "line 8, plans.nightly: must be a table, such as `[plans.nightly]` with its options below, not a whole number",
    ),
    "no sources": (
        BASE.partition("[sources")[0],
        "sources: there are none; add a table such as `[sources.NAME]` with a `kind`",
    ),
    "no destinations": (
        "[sources" + BASE.partition("[sources")[2],
        "destinations: there are none; add a table such as `[destinations.NAME]` with a `kind`",
    ),
    "a home that is not there": (
        BASE.replace('"models"]', '"~nobody-of-this-name/x"]'),
        "line 6, sources.models.paths: Could not determine home directory; write the whole path",
    ),
    "a NUL in a path": (
        BASE.replace('"models"]', '"a\\u0000b"]'),
        "line 6, sources.models.paths: a path can't hold the character NUL; write the whole path",
    ),
    "a text without quotes": (
        BASE + "mode = all",
        (
            "line 7, sources.models.mode: the value is no TOML: text stands in quotes, lists in [ ], and `true`,"
            " `false` and numbers stand alone"
        ),
    ),
    "a quote that does not end": (
        BASE + 'mode = "all\nfollow = true',
        "line 7, sources.models.mode: a quote that begins here does not end on this line",
    ),
    "a list that does not end": (
        BASE.replace('["models"]', '[\n"models"\n"more"'),
        (
            "line 6, sources.models.paths: the list that begins here does not end, or lacks a comma;"
            ' write `["one", "two"]`'
        ),
    ),
    "a backslash": (
        BASE.replace('"backups"', '"C:\\Users"'),
        "line 3, destinations.near.path: a backslash has a meaning in double quotes; put this text in single quotes",
    ),
    "a table's name without its end": (
        BASE + "[plans.nightly\nschedule = '30 1 * * *'",
        "line 7, sources.models: a table begins with its name in brackets, such as `[sources.logs]`, alone on a line",
    ),
    "no TOML at all": (
        "hello",
        "line 1: a line is `name = value` or `[table]`; a comment begins with #",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_fault_is_one_line(name: str) -> None:
    text, expected = CASES[name]
    assert faults(text) == [expected]


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    told = faults(
        """\
timezone = "Berlin"
hots = "x"
[keys]
passphrase = "in the clear"
[destinations.near]
kind = "folder"
[sources.models]
kind = "files"
pathz = ["x"]
depth = "deep"
destinations = ["far"]
[plans.nightly]
schedule = "61 * * * *"
sources = ["logs"]
keep = { last = 0, dialy = 1 }
[plans.nightly]
schedule = "30 1 * * *"
"""
    )
    assert [line.partition(":")[0] for line in told] == [
        "line 1, timezone",
        "line 2, hots",
        "line 4, keys.passphrase",
        "line 5, destinations.near.path",
        "line 7, sources.models.paths",
        "line 9, sources.models.pathz",
        "line 10, sources.models.depth",
        "line 11, sources.models.destinations[0]",
        "line 13, plans.nightly.schedule",
        "line 14, plans.nightly.sources[0]",
        "line 15, plans.nightly.keep.dialy",
        "line 15, plans.nightly.keep.last",
        "line 16, plans.nightly",
    ]


def test_all_broken_lines_are_told_at_once() -> None:
    text = "a = nope\nb = 'fine'\nc = [1 2]\nd = 'open\n[x\ny = 1\n= 3\n"
    assert [line.partition(":")[0].partition(",")[0] for line in faults(text)] == [
        "line 1",
        "line 3",
        "line 4",
        "line 5",
        "line 7",
    ]


def nested(paths: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        parse(f"{LOCAL}[sources.docs]\nkind = 'docs'\npaths = {paths}\n", Path("backup.toml"))
    return [line.removeprefix("backup.toml, line 6, sources.docs.") for line in str(refused.value).split("\n")]


LOCAL = '[destinations.near]\nkind = "local"\npath = "backups"\n'


def test_a_fault_in_one_of_several_shapes_is_told_for_the_shape_that_was_meant() -> None:
    """With the real kinds: `paths` takes paths, and tables with a path and a name."""
    assert nested('["a", { path = "x", nmae = "y" }]') == [
        "paths[1].name: `name` is missing; add it: its name in the snapshot",
        "paths[1].nmae: unknown key; did you mean `name`?",
    ]
    assert nested('[{ path = ["a"], name = "x" }]') == ["paths[0].path: must be a path: text in quotes, not a list"]
    assert nested("[7]") == [
        (
            "paths[0]: must be a path: text in quotes, or a table in braces, such as { option = value },"
            " not a whole number"
        )
    ]


def test_an_address_in_the_place_of_a_name_is_told_with_the_form_it_needs(tmp_path: Path) -> None:
    text = '[destinations.far]\nkind = "s3"\nbucket = "s3://geometra-backup"\n'
    with pytest.raises(SettingsError) as raised:
        parse(text, tmp_path / "backup.toml")
    said = "line 3, destinations.far.bucket: must be a name alone, as the service allows it, such as `geometra-backup`"
    assert said in str(raised.value)

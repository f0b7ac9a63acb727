"""backup.toml: found, read, and every fault in it told in one line that says what to write."""

from __future__ import annotations

import pickle
import re
import tomllib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from tasks.configuration import find, load, parse, problems
from tasks.configuration.document import Document
from tasks.errors import SettingsError
from tasks.settings import DestinationSettings, SecretReference, Settings, SourceSettings

HIDDEN = "hunter2-correct-horse"
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Files(SourceSettings):
    kind: Literal["files"]
    exclude: tuple[str, ...] = ()
    paths: tuple[Path, ...] = Field(min_length=1)
    """Folders and files to back up. More text."""
    follow: bool = False
    depth: int = Field(default=3, le=9)
    mode: Literal["all", "some"] = "all"
    where: Path | tuple[Path, ...] = ()


class Database(SourceSettings):
    kind: Literal["database"]
    password: SecretReference


class Folder(DestinationSettings):
    kind: Literal["folder"]
    path: Path


def read(text: str, path: Path = Path("/srv/geometra/backup.toml")) -> Settings:
    return parse(text, path, sources={"files": Files, "database": Database}, destinations={"folder": Folder})


def faults(text: str) -> list[str]:
    """The faults of a file, without the file's own name."""
    with pytest.raises(SettingsError) as refused:
        read(text, Path("backup.toml"))
    assert "Traceback" not in str(refused.value)
    assert "pydantic" not in str(refused.value).lower()
    lines = str(refused.value).split("\n")
    assert all(line.startswith("backup.toml, ") for line in lines)
    return [line.removeprefix("backup.toml, ") for line in lines]


BASE = """\
[destinations.near]
kind = "folder"
path = "backups"
[sources.models]
kind = "files"
paths = ["models"]
"""


def test_a_whole_file_is_read() -> None:
    found = read(
        """\
state = "/var/lib/geometra-backup"
host = "gpu-1"
timezone = "Europe/Berlin"
broker = "env:GEOMETRA_BACKUP_BROKER"
grace = "5d"
[keys]
folder = "~/keys"
passphrase = "file:secrets/passphrase"
[destinations.near]
kind = "folder"
path = "../backups"
[sources.models]
kind = "files"
paths = ["models", "/opt/models"]
destinations = ["near"]
where = ["one", "two"]
[sources.shop]
kind = "database"
password = "file:/run/secrets/shop"
[plans.nightly]
schedule = "30 1 * * *"
sources = ["models"]
keep = { daily = 7, within = "36h" }
[plans.by-hand]
"""
    )
    assert found.state == Path("/var/lib/geometra-backup")
    assert found.keys.folder == Path.home() / "keys"
    assert found.keys.passphrase is not None
    assert found.keys.passphrase.reference == "file:/srv/geometra/secrets/passphrase"
    assert found.broker is not None
    assert found.broker.reference == "env:GEOMETRA_BACKUP_BROKER"
    assert found.destinations["near"] == Folder(kind="folder", path=Path("/srv/geometra/../backups"))
    models = found.sources["models"]
    assert isinstance(models, Files)
    assert models.paths == (Path("/srv/geometra/models"), Path("/opt/models"))
    assert models.where == (Path("/srv/geometra/one"), Path("/srv/geometra/two"))
    assert found.sources["shop"] == Database.model_validate({"kind": "database", "password": "file:/run/secrets/shop"})
    assert found.plans["nightly"].keep.within == timedelta(hours=36)
    assert found.plans["by-hand"].schedule is None
    assert found.destinations_of("shop") == ("near",)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - its own bytes


def test_what_is_left_out_has_a_default_beside_the_file() -> None:
    found = read(BASE)
    assert found.state == Path("/srv/geometra/.geometra-backup")
    assert found.keys.folder == Path("/srv/geometra/keys")


CASES: dict[str, tuple[str, str]] = {
    "a misspelt option": (
        BASE + "pathz = 3",
        "line 7, sources.models.pathz: unknown key; did you mean `paths`?",
    ),
    "an option that nothing is near to": (
        BASE + '[plans.nightly]\nzzz = "x"',
        "line 8, plans.nightly.zzz: unknown key; there is `schedule`, `timezone`, `sources`, `keep`",
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


@pytest.mark.parametrize(
    "written",
    [
        f'broker = "redis://:{HIDDEN}@host/0"\n' + BASE,
        f"broker = redis://:{HIDDEN}@host/0\n" + BASE,
        BASE + f'[keys]\npassphrase = "{HIDDEN}"',
        BASE + f"[keys]\npassphrase = {HIDDEN}",
        BASE + f"[keys]\npassphrase = '{HIDDEN}",
        BASE + f'[keys]\npassphrase = ["{HIDDEN}"]',
        BASE + f'[keys]\npassphrase = {{ reference = "{HIDDEN}" }}',
        BASE + f'[keys]\npassphrase = {{ reference = "{HIDDEN}"',
        BASE + f'[keys]\npasphrase = "{HIDDEN}"',
        BASE + f'[keys]\npassphrase = "{HIDDEN}"\npassphrase = "{HIDDEN}"',
        BASE + f'[sources.shop]\nkind = "database"\npassword = "{HIDDEN}"',
        BASE + f'[sources.shop]\nkind = "database"\npassword = """\n{HIDDEN}\n"""',
        BASE + f'[sources.shop]\nkind = "database"\npassword = """\n{HIDDEN}\n',
        BASE + f'[sources.shop]\nkind = "databaes"\npassword = "{HIDDEN}"',
        BASE + f'follow = "{HIDDEN}"',
        BASE + f'depth = "{HIDDEN}"',
        BASE + f'mode = "{HIDDEN}"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(written: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(written)
    error: BaseException | None = refused.value
    while error:
        assert HIDDEN not in str(error)
        error = error.__cause__
    assert re.search(r"backup\.toml, line \d+", str(refused.value))


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


def test_control_characters_never_reach_the_terminal() -> None:
    (told,) = faults(BASE + '"\\u001b[31m\\nred" = 3')
    assert told.isprintable()
    assert told.startswith("line 7, sources.models.")


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    assert read("\ufeff" + BASE.replace("\n", "\r\n")) == read(BASE)
    assert faults("\ufeff" + BASE.replace("\n", "\r\n") + "x = 1")[0].startswith(
        "line 7, sources.models.x: unknown key"
    )


def test_an_array_of_tables_is_no_definition_twice() -> None:
    document = Document("[[a]]\nx = 1\n[[a]]\nx = 2\nx = 3\ny = nope")
    assert [(fault.line, fault.key) for fault in document.faults] == [(5, ("a", 1, "x")), (6, ("a", 1, "y"))]


TOML = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.sampled_from(["files", "folder", "env:A", "near"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["kind", "paths", "path", "keep", "last", "models", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def written(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {written(inner)}" for name, inner in value.items()) + "}"
    return str(value)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*Settings.model_fields, "x"]),
        st.one_of(TOML, st.dictionaries(st.sampled_from(["near", "models", "Bad"]), TOML, max_size=2)),
        max_size=4,
    )
)
def test_no_file_makes_it_fail_otherwise(data: dict[str, Any]) -> None:
    text = "\n".join(f"{name} = {written(value)}" for name, value in data.items())
    with suppress(SettingsError):
        read(text)


@settings(max_examples=300, deadline=None)
@given(st.text("ab=[]\"'\n.#1{},\\ é\0", max_size=60))
def test_any_text_is_read_or_explained(text: str) -> None:
    document = Document(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert document.faults
        assert all(1 <= fault.line <= text.count("\n") + 1 for fault in document.faults)
    else:
        assert (document.data, document.faults) == (data, [])
        for name in data:
            assert document.line((name,)) >= 1


def test_every_key_of_a_file_has_its_line() -> None:
    text = '# c\na = 1\n\nb.c = """\n[no.table]\nx = 1\n"""\n'
    text += '["odd name".t]\nd = [\n  1, 2,\n  # c\n  [3,\n 4],\n]\ne = { f = { g = 1 } }\n'
    document = Document(text)
    lines = {
        ("a",): 2,
        ("b",): 4,
        ("b", "c"): 4,
        ("odd name", "t"): 8,
        ("odd name", "t", "d"): 9,
        ("odd name", "t", "d", 0): 10,
        ("odd name", "t", "d", 1): 10,
        ("odd name", "t", "d", 2): 13,
        ("odd name", "t", "e", "f", "g"): 15,
        ("odd name", "t", "nothing"): 8,
        ("nothing",): 0,
    }
    assert {key: document.line(key) for key in lines} == lines


# --- where the file is found


def whole(folder: Path) -> Path:
    path = folder / "backup.toml"
    path.write_text(BASE)
    return path


def test_the_file_named_is_used_before_the_variable_and_that_before_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("named", "variable", "current")]
    for folder in folders:
        folder.mkdir()
        whole(folder)
    monkeypatch.chdir(folders[2])
    monkeypatch.delenv("GEOMETRA_BACKUP_CONFIG", raising=False)
    assert find().absolute() == folders[2] / "backup.toml"
    monkeypatch.setenv("GEOMETRA_BACKUP_CONFIG", str(folders[1] / "backup.toml"))
    assert find() == folders[1] / "backup.toml"
    assert find(folders[0] / "backup.toml") == folders[0] / "backup.toml"


def test_no_file_says_where_it_looked_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEOMETRA_BACKUP_CONFIG", raising=False)
    monkeypatch.setattr("tasks.configuration.loading.SYSTEM", tmp_path / "etc" / "backup.toml")
    with pytest.raises(SettingsError, match="geometra-backup init") as refused:
        find()
    assert f"`{tmp_path}/backup.toml` and `{tmp_path}/etc/backup.toml`" in str(refused.value)


def test_a_named_file_that_is_not_there_is_never_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path / "gone.toml"))):
        find(tmp_path / "gone.toml")
    monkeypatch.setenv("GEOMETRA_BACKUP_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"gone\.toml` \(from GEOMETRA_BACKUP_CONFIG\)"):
        find()


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin").write_bytes("name = 'é'".encode("latin-1"))
    with pytest.raises(SettingsError, match="not text in UTF-8"):
        load(tmp_path / "latin")


def test_relative_paths_are_taken_from_the_files_folder_not_from_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    whole(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    found = load(Path("here/backup.toml"), sources={"files": Files}, destinations={"folder": Folder})
    assert found.sources["models"] == Files(kind="files", paths=(tmp_path / "here" / "models",))


# --- what a valid file still does not say well


def concerns(text: str, now: datetime = NOW) -> list[str]:
    found = problems(read(text), now)
    assert all(problem.advice for problem in found)
    return [problem.what for problem in found]


NIGHTLY = '[plans.nightly]\nschedule = "{}"\ntimezone = "{}"\n'


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
    (tmp_path / "open").chmod(0o600)
    assert concerns(text) == ["the environment variable `NOT_SET` is not set; it must hold a secret"]

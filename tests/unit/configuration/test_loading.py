"""Where backup.toml is found, and what comes out of it."""

from __future__ import annotations

import pickle
import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.configuration import find, load
from tasks.errors import SettingsError
from tasks.settings import Settings
from tests.unit.configuration.sample import BASE, HIDDEN, Database, Files, Folder, faults, read


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


def test_what_the_file_says_can_be_told_from_what_is_only_a_default() -> None:
    assert read(BASE).sources["models"].model_fields_set == {"kind", "paths"}


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


def test_control_characters_never_reach_the_terminal() -> None:
    (told,) = faults(BASE + '"\\u001b[31m\\nred" = 3')
    assert told.isprintable()
    assert told.startswith("line 7, sources.models.")
    for text in ('timezone = "a\\u001b[31m\\nb"\n' + BASE, BASE + '[plans.a]\nsources = ["a\\u001b[31m\\nb"]'):
        (told,) = faults(text)
        assert told.isprintable()
        assert r"`a\u001b[31m\u000ab`" in told


def test_windows_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    assert read("\ufeff" + BASE.replace("\n", "\r\n")) == read(BASE)
    assert faults("\ufeff" + BASE.replace("\n", "\r\n") + "x = 1")[0].startswith(
        "line 7, sources.models.x: unknown key"
    )


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

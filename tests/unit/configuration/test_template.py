"""The backup.toml that `init` writes loads, says everything, and has nothing of its own backed up."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tasks.configuration import parse, problems, render
from tasks.configuration.kinds import destination_kinds, source_kinds
from tasks.configuration.reference import options
from tasks.discovery import SERVICES, Found, Recognised, Service, discover
from tasks.model import Model
from tasks.settings import Keep, KeysSettings, PlanSettings, Settings
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.filetree import FileTreeSettings
from tasks.sources.roots import NamedPath
from tasks.sources.source_code import SourceCodeSettings
from tests.unit.configuration.sample import NOW
from tests.unit.configuration.sample_folder import geometra, make


def loaded(found: Found, **how: Any) -> Settings:
    return parse(render(found, now=NOW, **how), found.folder / "backup.toml")


def test_the_file_written_for_a_folder_loads_without_a_problem(tmp_path: Path) -> None:
    folder = geometra(tmp_path)
    settings = loaded(discover(folder, usual=(), services={}))
    assert {name: source.kind for name, source in settings.sources.items()} == {
        "source-code": "source_code",
        "config": "config",
        "logs": "logs",
        "models": "models",
        "docs": "docs",
        "test-data": "test_data",
    }
    assert settings.destinations["local"].kind == "local"
    assert settings.state == folder / ".geometra-backup"
    assert settings.plans["nightly"].schedule == "30 1 * * *"
    assert settings.plans["nightly"].keep == Keep()
    assert problems(settings, NOW) == []


def test_the_file_explains_every_option(tmp_path: Path) -> None:
    text = " ".join(
        line.removeprefix("# ").strip()
        for line in render(discover(geometra(tmp_path), usual=(), services={})).split("\n")
    )
    used = [kind for name, kind in source_kinds().items() if f'kind = "{name}"' in text]
    assert len(used) >= 5
    models: list[type[Model]] = [Settings, KeysSettings, PlanSettings, Keep, destination_kinds()["local"], *used]
    for model in models:
        for option in options(model):
            assert f" {option.name} = " in text or f" {option.name}," in text or text.endswith(option.name), option.name
            assert option.text in text, option.name


def test_a_default_that_is_shown_as_a_comment_can_be_used_as_it_is(tmp_path: Path) -> None:
    """Uncommented, each such line changes nothing, so none of them is wrong; windows and drills have no default."""
    found = discover(geometra(tmp_path), usual=(), services={})
    text = render(found, now=NOW)
    commented = re.compile(r"^# (\w+ = (?!\.\.\.).*(?:\n#     .*)*)$", re.MULTILINE)
    assert len(commented.findall(text)) > 15
    uncommented = commented.sub(lambda match: match[1].replace("\n#    ", "\n"), text)
    assert tomllib.loads(uncommented).keys() > tomllib.loads(text).keys()
    given = parse(uncommented, found.folder / "backup.toml")
    without = {"window": None, "drill": None}
    assert {name: each.model_copy(update=without) for name, each in given.sources.items()} == loaded(found).sources
    assert given.grace == loaded(found).grace


def test_nothing_of_its_own_is_backed_up_where_the_whole_folder_is(tmp_path: Path) -> None:
    settings = loaded(Found(tmp_path, recognised=(Recognised("docs", (tmp_path,)),)), destination=Path("store/here"))
    assert problems(settings, NOW) == []
    assert problems(loaded(Found(tmp_path)), NOW) == [], "nothing recognised"


def test_each_folder_of_a_chroma_is_a_source(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path, f"app/{name}/chroma.sqlite3")
    found = discover(tmp_path, usual=(), services={})
    settings = loaded(replace(found, services=(Service("chroma", "127.0.0.1:8000"),)))
    sources = {name: source for name, source in settings.sources.items() if isinstance(source, ChromaSettings)}
    assert [source.path for source in sources.values()] == [tmp_path / "app/one", tmp_path / "app/two", None]
    assert list(sources) == ["chroma", "chroma-2", "chroma-3"]
    assert sources["chroma-3"].url == "http://127.0.0.1:8000"
    assert problems(settings, NOW) == []


def test_paths_of_one_name_and_odd_names_are_written_so_that_they_load(tmp_path: Path) -> None:
    odd = ['a "b" \\c', "é\x7f\t", "[x]#!", "*"]
    paths = tuple(
        sorted([tmp_path / "a/config", tmp_path / "config", Path("/srv/config"), *(tmp_path / name for name in odd)])
    )
    settings = loaded(Found(tmp_path, recognised=(Recognised("config", paths), Recognised("docs", (Path("/"),)))))
    config, docs = settings.sources["config"], settings.sources["docs"]
    assert isinstance(config, FileTreeSettings)
    assert isinstance(docs, FileTreeSettings)
    named = [one if isinstance(one, NamedPath) else NamedPath(path=one, name=one.name) for one in config.paths]
    assert {one.path for one in named} == set(paths)
    assert len({one.name for one in named}) == len(paths)
    assert docs.paths == (NamedPath(path=Path("/"), name="root"),)


def test_repositories_of_one_name_are_told_apart_and_kept_clear_of_what_is_our_own(tmp_path: Path) -> None:
    paths = (tmp_path, tmp_path / "a/site", tmp_path / "b/site")
    source = loaded(Found(tmp_path, recognised=(Recognised("source_code", paths),))).sources["source-code"]
    assert isinstance(source, SourceCodeSettings)
    assert source.repositories == (tmp_path, tmp_path / "a/site", NamedPath(path=tmp_path / "b/site", name="b-site"))
    assert source.exclude == ("/.geometra-backup/", "/keys/", "/backups/")


def test_a_server_that_answers_becomes_a_source_with_its_address_and_no_password(tmp_path: Path) -> None:
    known = [kind for kind in SERVICES if kind in source_kinds()]
    found = Found(tmp_path, services=tuple(Service(kind, f"127.0.0.1:{SERVICES[kind]}") for kind in known))
    sources = loaded(found).sources
    assert list(sources) == known
    assert [source.kind for source in sources.values()] == known
    assert "5432" in render(found, now=NOW)


@pytest.mark.parametrize("zone", ["Europe/London", "Europe/Helsinki", "Africa/Cairo", "Australia/Lord_Howe", "UTC"])
def test_the_night_is_set_to_a_time_that_every_day_has(tmp_path: Path, zone: str) -> None:
    settings = loaded(Found(tmp_path, timezone=zone))
    assert settings.zone_of("nightly") == ZoneInfo(zone)
    assert problems(settings, NOW) == []


def test_the_passphrase_is_written_as_a_reference_only(tmp_path: Path) -> None:
    settings = loaded(Found(tmp_path), passphrase="env:GEOMETRA_BACKUP_PASSPHRASE")
    assert settings.keys.passphrase is not None
    assert settings.keys.passphrase.reference == "env:GEOMETRA_BACKUP_PASSPHRASE"


def test_a_look_that_was_cut_short_is_named(tmp_path: Path) -> None:
    assert "add what is missing" in render(Found(tmp_path, cut_short=True), now=NOW)
    assert "add what is missing" not in render(Found(tmp_path), now=NOW)

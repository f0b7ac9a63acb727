"""What `init` says of the servers that it finds, and that it writes a source for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasks.configuration import load
from tasks.discovery import SERVICES, Found, Recognised, Service
from tasks.errors import BackupError
from workers.cli import init
from workers.cli.main import group


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    (tmp_path / "etc").mkdir()
    services = tuple(Service(kind, f"127.0.0.1:{port}") for kind, port in SERVICES.items())
    found = Found(tmp_path, recognised=(Recognised("config", (tmp_path / "etc",)),), services=services)
    monkeypatch.setattr(init, "discover", lambda _: found)
    return found


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)


def test_each_server_that_is_found_is_told_and_becomes_a_source(found: Found) -> None:
    done = run("init", found.folder)
    assert done.exit_code == 0, done.output
    sources = load(found.folder / "backup.toml").sources
    assert list(sources) == ["config", *SERVICES]
    assert f"for 4 sources: {', '.join(sources)}" in done.output
    for service in found.services:
        assert f"Found {service.kind} on {service.address}: if it wants a password" in done.output


def test_one_source_is_not_several(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "discover", lambda _: Found(found.folder, recognised=found.recognised))
    assert "for 1 source: config" in run("init", found.folder).output


def test_the_sheet_that_is_written_is_not_printed(found: Found, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.txt"
    done = run("--json", "init", found.folder, "--recovery-sheet", sheet)
    told = json.loads(done.output)
    assert told["recovery_sheet"] is None
    assert sheet.read_text().strip()
    assert sheet.read_text() not in done.output


@pytest.mark.parametrize(
    "asked",
    [("--destination", "/dev/null/backups"), ("--recovery-sheet", "/dev/null/sheet.txt")],
    ids=["destination", "sheet"],
)
def test_what_can_not_be_made_leaves_no_keys_whose_sheet_nobody_has_seen(found: Found, asked: tuple[str, str]) -> None:
    with pytest.raises(BackupError, match="/dev/null"):
        run("init", found.folder, *asked)
    assert "Recovery sheet" in run("init", found.folder).output


def test_paths_that_are_typed_are_seen_from_where_they_are_typed(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("correct horse")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("init", found.folder, "--destination", "disk", "--passphrase", "file:secret").exit_code == 0
    settings = load(found.folder / "backup.toml")
    assert getattr(settings.destinations["local"], "path", None) == tmp_path / "elsewhere/disk"
    assert (tmp_path / "elsewhere/disk").is_dir()
    assert settings.keys.passphrase is not None
    assert settings.keys.passphrase.read() == "correct horse"


@pytest.mark.parametrize(("typed", "leaves_out"), [("../disk", []), ("sub/../disk", ["/disk/"]), ("disk", ["/disk/"])])
def test_a_destination_with_dots_in_its_path_is_left_out_where_it_lies_in_a_source(
    typed: str, leaves_out: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "mine").write_text("mine")
    monkeypatch.chdir(home)
    assert run("init", Path("../home"), "--destination", typed).exit_code == 0
    settings = load(home / "backup.toml")
    assert getattr(settings.destinations["local"], "path", None) == (home / typed).resolve()
    excluded = set(settings.sources["docs"].model_dump()["exclude"])
    assert sorted(excluded - {"/.geometra-backup/", "/keys/"}) == leaves_out

"""A backup.toml that was written by hand, or came from elsewhere: `init` leaves it as it is, and makes the keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flows.terminal import Terminal

OWN = """[sources.docs]
kind = "docs"
paths = ["docs"]

[destinations.disk]
kind = "local"
path = "disk"
"""
PASSPHRASE = "GEOMETRA_BACKUP_PASSPHRASE"
REFERENCE = '\n[keys]\npassphrase = "file:secret"\nfolder = "secrets"\n'


@pytest.fixture
def own(tmp_path: Path) -> Terminal:
    (tmp_path / "docs").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "docs/page.md").write_text("a page")
    (tmp_path / "backup.toml").write_text(OWN)
    return Terminal(tmp_path)


def test_it_gets_its_keys_for_the_passphrase_of_the_environment(own: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`geometra-backup init`" in str(own.json("run", code=1)["failures"])
    assert "keys.passphrase" in own.complaint("init", code=78)
    assert not (own.folder / "keys").exists()
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    sheet = own.json("init")["recovery_sheet"]
    assert (own.folder / "backup.toml").read_text() == OWN
    assert own.json("run")["state"] == "done"
    (own.folder / "sheet").write_text(sheet)
    own.run("restore", "docs", "--from", "disk", "--recovery-sheet", "sheet", "--to", "back")
    assert (own.folder / "back/docs/page.md").read_text() == "a page"


def test_a_passphrase_is_made_where_it_names_a_file_that_is_not_there(own: Terminal) -> None:
    (own.folder / "backup.toml").write_text(OWN + REFERENCE)
    said = own.run("-c", own.folder / "backup.toml", "init", "--recovery-sheet", "sheet").stdout
    assert "was left as it is" in said
    assert sorted(path.name for path in (own.folder / "secrets").iterdir()) == ["keyring.json", "writer.key"]
    assert len((own.folder / "secret").read_text()) > 20
    assert (own.folder / "secret").stat().st_mode & 0o777 == 0o600
    assert own.json("run")["state"] == "done"


def test_it_goes_on_with_the_keys_of_what_is_stored(own: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    own.run("init")
    own.run("run")
    before = (own.folder / "keys/keyring.json").read_text()
    shutil.rmtree(own.folder / "keys")
    said = own.run("init", "--from", "disk").stdout
    assert "disk holds: docs" in said
    assert "make it a destination" not in said
    assert (own.folder / "keys/keyring.json").read_text() == before
    assert own.json("run")["state"] == "done"
    assert len(own.json("list", "docs")) == 2


def test_no_key_is_replaced_and_none_is_made_beside_another(own: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    own.run("init")
    assert "edit it" in own.complaint("init", code=73)
    (own.folder / "keys/writer.key").unlink()
    assert "`writer.key`" in own.complaint("init", code=73)
    assert not (own.folder / "keys/writer.key").exists()


def test_what_contradicts_it_is_refused(own: Terminal) -> None:
    (own.folder / "backup.toml").write_text(OWN + REFERENCE)
    (own.folder / "secret").write_text("one\n")
    assert "another" in own.complaint("init", "--passphrase", "env:OTHER", code=78, OTHER="two")
    assert "--destination" in own.run("init", "--destination", "elsewhere", code=2).stderr
    assert "init FOLDER" in own.complaint("-c", "typo.toml", "init", code=66)
    assert not (own.folder / "secrets").exists()

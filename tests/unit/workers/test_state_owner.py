"""Two configurations that have one state folder, and those that only seem to be two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.broker import broker_folder
from tasks.errors import SettingsError
from tasks.settings import Settings
from workers.private_broker import private_broker


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("GEOMETRA_BACKUP_BROKER", raising=False)
    return Settings(state=tmp_path / "state", destinations={}, sources={})


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    file = tmp_path / "backup.toml"
    file.write_text("# ours\n")
    return file


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    file = tmp_path / "other.toml"
    file.write_text("# theirs\n")
    return file


def test_while_one_is_running_another_is_refused(settings: Settings, ours: Path, theirs: Path) -> None:
    with private_broker(settings, ours), private_broker(settings, ours):
        with pytest.raises(SettingsError) as raised, private_broker(settings, theirs):
            pass
        said = str(raised.value)
        assert f"`{ours}` has the state folder `{settings.state}` as well" in said
        assert f"give `{theirs}` a `state` of its own" in said
        assert "\n" not in said
        with private_broker(settings, ours):
            pass  # who was refused has left nothing behind


def test_one_after_the_other_is_told_once(
    settings: Settings, ours: Path, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with private_broker(settings, ours):
        pass
    assert capsys.readouterr().err == ""
    with private_broker(settings, theirs):
        pass
    said = capsys.readouterr().err
    assert said.startswith(f"The state folder `{settings.state}` was that of `{ours}` last")
    assert said.count("\n") == 1
    with private_broker(settings, theirs):
        pass
    assert capsys.readouterr().err == ""


def test_a_file_that_was_moved_edited_or_is_seen_elsewhere_is_no_other(
    settings: Settings, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted, moved = tmp_path / "mounted.toml", tmp_path / "moved.toml"
    with private_broker(settings, ours):
        ours.write_text("# ours, edited\n")
        with private_broker(settings, ours):
            pass
        mounted.write_bytes(ours.read_bytes())
        with private_broker(settings, mounted):
            pass
        ours.rename(moved)
        moved.write_text("# and edited again\n")
        with private_broker(settings, moved):
            pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"\xff\0\n", b"relative.toml\n", b"/nowhere/backup.toml\n"])
def test_what_names_nobody_stops_nobody(
    content: bytes, settings: Settings, ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with private_broker(settings, ours):
        (broker_folder(settings) / "configuration").write_bytes(content)
        with private_broker(settings, ours):
            pass
    assert capsys.readouterr().err == ""

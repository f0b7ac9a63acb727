"""Before a restore that may not fit, that is told; nothing is said of one that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.cli.restore import warn_of_room


def test_what_may_not_fit_where_a_new_folder_would_be_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_room(tmp_path / "new" / "folder", 1 << 60)
    told = capsys.readouterr().err
    assert told.startswith("This may not fit: ")
    assert f"are free for `{tmp_path / 'new' / 'folder'}`" in told


@pytest.mark.parametrize("name", ["n" * 300, "file/below"])
def test_where_it_can_not_be_told_a_restore_is_not_kept_from_trying(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    warn_of_room(tmp_path / name, 1)
    assert capsys.readouterr().err == ""


def test_nothing_is_said_of_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_room(tmp_path / "new", 1)
    assert capsys.readouterr().err == ""

"""The folders in which packs are made where no spool is given, as a prune's: in the folder for temporary files."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from tasks.repository.packing import scratch_folder


def test_what_killed_prunes_left_goes_and_what_others_work_in_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = time.time() - 7200
    for name in ("geometra-packs-left", "somebody-elses"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.pack").write_bytes(b"x")
    (tmp_path / "geometra-packs-link").symlink_to(tmp_path / "somebody-elses")
    with scratch_folder(None) as used:
        for path in tmp_path.iterdir():
            os.utime(path, (before, before))
        (tmp_path / "geometra-packs-new").mkdir()
        with scratch_folder(None) as other:
            assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
                [used.name, other.name, "geometra-packs-link", "geometra-packs-new", "somebody-elses"]
            )
    assert (tmp_path / "somebody-elses/one.pack").read_bytes() == b"x"

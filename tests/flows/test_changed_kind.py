"""A source that is of another kind by now: what was taken before comes back as it was taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.configuration import load
from tasks.errors import NotFound
from tasks.installation import Installation
from tasks.restore import Wanted, restore
from tests import git_sample
from tests.flows.terminal import Terminal

KIND = 'kind = "source_code"\nrepositories = ["code"]'
OTHER = 'kind = "docs"\npaths = ["code"]'


@pytest.fixture
def changed(copied: Terminal) -> Terminal:
    """Its source `work` was a repository of git when it was captured, and is a folder of documents now."""
    git_sample.commit(git_sample.init(copied.folder / "code"), {"read.me": "a text"})
    file = copied.folder / "backup.toml"
    file.write_text(file.read_text() + f"\n[sources.work]\n{KIND}\n")
    copied.run("run", "--source", "work")
    shutil.rmtree(copied.folder / "code")
    copied.edit(KIND, OTHER)
    return copied


def test_a_repository_comes_back_as_one_though_its_source_is_a_folder_now(changed: Terminal, tmp_path: Path) -> None:
    changed.run("restore", "work", "--to", tmp_path / "back")
    assert (tmp_path / "back/code/read.me").read_text() == "a text"
    git_sample.git(tmp_path / "back/code", "log", "-1")

    passphrase = (changed.folder / "keys/passphrase").read_text().strip()
    installation = Installation(load(changed.folder / "backup.toml"), passphrase=passphrase)
    restore(installation, "work", "local", Wanted(tmp_path / "again"))
    assert (tmp_path / "again/code/read.me").read_text() == "a text"
    with pytest.raises(NotFound, match="knows no sources of kind `teapots`: upgrade first"):
        installation.source_of("work", "teapots")

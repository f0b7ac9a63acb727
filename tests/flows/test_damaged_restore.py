"""Restoring what is damaged: one block costs the files that need it, and nothing else."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import Damaged
from tasks.installation import Installation
from tasks.restore import Wanted, restore
from tasks.sources.source import Restoring
from tests.flows.test_disproven import spoil
from tests.flows.test_verbs import installed, night
from tests.flows.trees import state_of

__all__ = ["installed"]


def truncated(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [spoil, truncated, Path.unlink])
def test_all_else_comes_back_and_what_does_not_is_named(
    installed: Installation, damage: Callable[[Path], None]
) -> None:
    folder = installed.settings.state.parent
    docs = folder / "originals/docs"
    whole = state_of(folder / "originals")
    night(installed, 2, "here")
    (docs / "a large one").write_bytes(random.Random(1).randbytes(50_000_000))
    night(installed, 1, "here")
    packs = sorted((folder / "here/docs/packs").rglob("*/*"), key=lambda path: path.stat().st_size)
    damage(packs[-1])
    into = folder / "back"
    (into / "docs").mkdir(parents=True)
    (into / "docs/a large one").write_text("mine")
    with pytest.raises(Damaged, match="all else was restored, but what is stored of `docs/a large one` is damaged"):
        restore(installed, "docs", "here", Wanted(into, how=Restoring(overwrite=True)))
    assert (into / "docs/a large one").read_text() == "mine"
    (into / "docs/a large one").unlink()
    shutil.copystat(docs, into / "docs")
    found = state_of(into)
    assert {name: state for name, state in found.items() if name != "docs"} == {
        name: state for name, state in whole.items() if name != "docs"
    }

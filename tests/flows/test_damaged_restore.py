"""Restoring what is damaged: one block costs the files that need it, and nothing else."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import Damaged, Unavailable
from tasks.installation import Installation
from tasks.repository import block
from tasks.restore import Wanted, restore
from tasks.sources.source import Restoring
from tests.flows.house import House
from tests.flows.test_disproven import spoil
from tests.flows.test_spool_quota import models, small
from tests.flows.test_verbs import installed, night
from tests.flows.trees import state_of
from tests.stores.faulty_proxy import faulty_proxy
from tests.stores.s3 import S3Server

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


def test_a_damaged_block_of_the_list_costs_what_it_lists(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restoring all had come to an end before the first file."""
    monkeypatch.setattr(block, "LIST_TARGET", 32 << 10)
    folder = installed.settings.state.parent
    many = folder / "originals/docs/many"
    many.mkdir()
    for number in range(4000):
        (many / f"{number:04}").write_text(str(number))
    night(installed, 1, "here")
    lists = [path for path in (folder / "here/docs/packs").rglob("*/*") if path.read_bytes()[4:5] == b"L"]
    spoil(max(lists, key=lambda path: path.stat().st_size))
    into = folder / "back"
    with pytest.raises(Damaged, match=r"all else was restored; but some of the list .* is damaged"):
        restore(installed, "docs", "here", Wanted(into))
    back = {path.name: path.read_text() for path in (into / "docs/many").iterdir()}
    assert 1000 < len(back) < 4000
    assert all(int(name) == int(text) for name, text in back.items())
    for name in ("0000", "3999"):
        restore(installed, "docs", "here", Wanted(folder / name, paths=(f"docs/many/{name}".encode(),)))
        assert (folder / name / "docs/many" / name).read_text() == str(int(name))
    (gone, *_) = {f"{number:04}" for number in range(4000)} - back.keys()
    with pytest.raises(Damaged, match=rf"matches `docs/many/{gone}`.*; but some of the list"):
        restore(installed, "docs", "here", Wanted(folder / "gone", paths=(f"docs/many/{gone}".encode(),)))


def test_a_pack_that_its_service_never_gives_costs_the_files_in_it_and_no_others(house: House, s3: S3Server) -> None:
    """As one on a bad sector, or of a Ceph that has lost a part of it, which answers for all others."""
    secrets = {"access_key": f"file:{s3.folder / 'key'}", "secret_key": f"file:{s3.folder / 'secret'}"}
    far = {"kind": "s3", "bucket": s3.bucket(), "path_style": True, "deadline": "1s", **secrets}
    with faulty_proxy(s3.url) as (proxy, url):
        house.configure({"models": models(house, 20)}, {"far": far | {"endpoint": url}})
        with small(house) as night:
            night.upload("far", night.capture())
            packs = list(night.installation.destination("far", "models").list("packs/"))
            proxy.never = max(packs, key=lambda pack: pack.size).name
            into = house.folder / "back"
            with pytest.raises(Damaged, match=r"all else was restored.*can't be read, while others beside it can"):
                restore(night.installation, "models", "far", Wanted(into))
            proxy.never = "models/"
            with pytest.raises(Unavailable):
                restore(night.installation, "models", "far", Wanted(house.folder / "other"))
    back = {path.name: path.read_bytes() for path in into.rglob("*.bin")}
    whole = {path.name: path.read_bytes() for path in (house.folder / "originals/models").iterdir()}
    assert 5 <= len(back) < len(whole) == 10
    assert back.items() <= whole.items()

"""Nights of Chroma sources with real workers: a folder that is written meanwhile, a server that is away at first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.restore import Wanted, restore
from tasks.target import target_of
from tests.chroma_process import chroma_server, seen, writer
from tests.flows import kinds
from tests.flows.house import House
from tests.unit.sources.chroma.live_state import wrong_with


@pytest.mark.timeout(300)  # three servers, a writer and workers at once
def test_a_night_of_a_folder_and_of_a_server_brings_both_back(house: House, filled_chroma: Path) -> None:
    store = Path(shutil.copytree(filled_chroma, house.folder / "server"))
    truth = seen(store)["dump"]
    live = house.folder / "live"
    with chroma_server(store) as server:
        server.kill()
        sources = {
            "vectors": {"kind": "chroma", "path": live, "scratch": house.folder / "scratch"},
            "served": {"kind": "chroma", "url": server.url, "scratch": house.folder / "scratch"},
        }
        house.configure(sources, {"here": {"kind": "local", "path": house.folder / "store"}}, {"nightly": {}})
        house.worker()
        with writer(live, 0.02):
            run = house.start("nightly")
            house.wait_for(lambda: any(line.get("event") == "waiting" for line in house.log()), "the wait")
            server.start()
            report = house.report(run)
    assert report["state"] == "done", report
    assert all(where["proven"] == ["here"] for where in report["recovery_point"]["sources"].values())
    (waiting, *_) = [line for line in house.log() if line.get("event") == "waiting"]
    assert "can't be reached" in waiting["error"]
    assert list((house.folder / "scratch").iterdir()) == []
    shutil.rmtree(live)
    shutil.rmtree(store)
    with kinds.registered(), chroma_server(house.folder / "fresh") as server:
        assert restore(house.installation, "vectors", "here", Wanted(house.folder / "back")).state == "done"
        target = target_of(house.installation.source("served"), server.url, {"collection": ["apples"], "as": ["more"]})
        assert restore(house.installation, "served", "here", Wanted(target)).state == "done"
        assert seen(server.url)["dump"]["more"] == truth["apples"]
    assert wrong_with(house.folder / "back" / "live") == ""

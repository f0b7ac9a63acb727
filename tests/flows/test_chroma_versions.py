"""Chroma of other versions: GEOMETRA_CHROMAS names the Pythons that have them, joined by `:`. Without it none is there
to be tried, and nothing here runs; README says which were."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.sources.chroma.settings import ChromaSettings, ChromaTarget
from tasks.sources.chroma.unique_keys import KEYS
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.chroma_process import chroma_server
from tests.contracts.source_contract import agree
from tests.repositories import about, create, local

CHILD = Path(__file__).parents[1] / "chroma_any_version.py"
OTHERS = [each for each in os.environ.get("GEOMETRA_CHROMAS", "").split(":") if each]

pytestmark = [
    pytest.mark.skipif(not OTHERS, reason="GEOMETRA_CHROMAS names no Python with another Chroma"),
    pytest.mark.timeout(600),
]


def told(python: str, verb: str, where: Path | str) -> str:
    """What that version says; it has ended, so nobody has the folder open."""
    command = [python, str(CHILD), verb, str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def seen(python: str, where: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(python, "dump", where))
    return found


def coarse(metadata: dict[str, Any] | None) -> dict[str, Any]:
    return {key: round(value, 9) if isinstance(value, float) else value for key, value in (metadata or {}).items()}


def alike(found: dict[str, Any], truth: dict[str, Any], *, served: bool = False) -> None:
    """Of cosine vectors Chroma keeps the direction, and each version gives back other last bits. `served`: written
    through a server, where Chroma 1 reads a real number from JSON and may miss its last bit."""
    for name, right in truth.items():
        assert found[name]["found"] == right["found"]
        assert found[name]["rows"].keys() == right["rows"].keys()
        for key, (vector, document, metadata) in right["rows"].items():
            assert found[name]["rows"][key][1] == document
            there, here = (coarse(each) if served else each for each in (metadata, found[name]["rows"][key][2]))
            assert here == there
            assert np.allclose(found[name]["rows"][key][0], vector, rtol=1e-6, atol=1e-6 if name == "pears" else 0)


@pytest.mark.parametrize("python", OTHERS)
def test_a_folder_of_another_version_comes_back_for_that_version_and_for_ours(python: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    told(python, "fill", store)
    truth = seen(python, shutil.copytree(store, tmp_path / "truth"))
    given = {"kind": "chroma", "path": store, "scratch": tmp_path / "scratch"}
    source = Chroma("tested", ChromaSettings.model_validate(given))
    repository = create(local(tmp_path / "repository"))
    snapshot = repository.save(source.capture(), about(0), repository.destination)
    assert snapshot.complete
    expected = {"embedding_fulltext_search", *(key.name for key in KEYS)}
    if told(python, "version", "").startswith("0.4"):
        # Its queue keeps all that was ever sent: beside that, indexes are little.
        assert "stored" in snapshot.facts["indexes"]
    else:
        assert expected <= {*snapshot.facts["indexes"]["made_again_by_restore"]}
    shutil.rmtree(store)
    items = repository.read(snapshot)
    for number, opener in enumerate((python, sys.executable)):
        back = tmp_path / f"back{number}"
        assert source.restore(items, items, back, Restoring()) == []
        assert agree(source.examine(back), snapshot.facts)
        alike(seen(opener, back / "store"), truth)
    with chroma_server(tmp_path / "fresh") as server:
        target = ChromaTarget.model_validate({"url": server.url, "scratch": tmp_path / "scratch"})
        assert source.restore_into(items, items, target, Restoring()) == []
        alike(seen(sys.executable, server.url), truth, served=True)


@pytest.mark.parametrize("python", OTHERS)
def test_a_server_of_another_version_is_exported_into_ours_and_back(python: str, tmp_path: Path) -> None:
    if told(python, "version", "").startswith("0."):
        pytest.skip("servers before 1.0 are not exported; their folders are captured")
    told(python, "fill", tmp_path / "store")
    repository = create(local(tmp_path / "repository"))
    with (
        chroma_server(tmp_path / "store", python) as other,
        chroma_server(tmp_path / "ours") as ours,
        chroma_server(tmp_path / "older", python) as older,
    ):
        given = {"kind": "chroma", "url": other.url, "scratch": tmp_path / "scratch"}
        source = Chroma("tested", ChromaSettings.model_validate(given))
        assert source.check() == []
        truth = seen(sys.executable, other.url)
        for number, (taken_from, into) in enumerate(((other, ours), (ours, older))):
            given["url"] = taken_from.url
            source = Chroma("tested", ChromaSettings.model_validate(given))
            snapshot = repository.save(source.capture(), about(number), repository.destination)
            assert snapshot.complete
            items = repository.read(snapshot)
            target = ChromaTarget.model_validate({"url": into.url})
            assert source.restore_into(items, items, target, Restoring()) == []
            alike(seen(sys.executable, into.url), truth, served=True)

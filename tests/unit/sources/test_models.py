"""The facts of models: a digest each, shared content once."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.content_digest import content_digest
from tasks.item import FILE, Entry
from tasks.sources.models import ModelFacts, Models, ModelsSettings
from tests.contracts.memory_items import Saved


def test_each_content_has_its_digest_and_further_names_refer_to_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "b").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"weights" * 1000)
    (folder / "b" / "copy.bin").write_bytes(b"weights" * 1000)
    (folder / "c.bin").write_bytes(b"other")
    (folder / "empty").touch()
    os.link(folder / "c.bin", folder / "d.bin")
    (folder / "link").symlink_to("a.bin")
    facts = Saved(Models("models", ModelsSettings(kind="models", paths=(folder,))).capture()).facts
    assert facts["models"] == {
        "models/a.bin": content_digest(b"weights" * 1000).hex(),
        "models/c.bin": content_digest(b"other").hex(),
    }
    assert facts["shared"] == {"models/b/copy.bin": "models/a.bin", "models/d.bin": "models/c.bin"}
    assert facts["content_bytes"] == 14_005


def test_files_of_unknown_digest_are_not_taken_for_one_content() -> None:
    facts = ModelFacts()
    for path in (b"a", b"b"):
        facts.add(Entry(path, FILE, size=7))
    assert (facts.facts()["models"], facts.facts()["shared"]) == ({}, {})

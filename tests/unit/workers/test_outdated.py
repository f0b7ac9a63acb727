"""Processes that go by a backup.toml that was changed since they began."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import signals

import workers.signals
from tasks.configuration import VARIABLE, load
from workers import outdated as outdated_module
from workers.outdated import note, outdated

HANDLERS = workers.signals  # imported for them

TEXT = """
host = "here"
[sources.docs]
kind = "docs"
paths = ["documents"]
[destinations.local]
kind = "local"
path = "store"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "backup.toml"
    path.write_text(TEXT)
    monkeypatch.setenv(VARIABLE, str(path))
    monkeypatch.setattr(outdated_module, "_held", [])
    yield path
    end()


def end() -> None:
    """As the end of this process does."""
    while outdated_module._held:
        outdated_module._held.pop().close()


def test_who_began_before_a_change_is_named_until_he_ends(file: Path) -> None:
    note("files@here")
    assert outdated(load(file)) is None
    file.write_text(TEXT + "[plans.nightly]\n")
    note("proof@here")
    found = outdated(load(file))
    assert found
    assert found.says.startswith("files@here began before")
    file.write_text(TEXT)
    found = outdated(load(file))
    assert found
    assert found.says.startswith("proof@here began before")
    end()
    assert outdated(load(file)) is None
    assert not list((file.parent / ".geometra-backup/processes").iterdir())


def test_workers_and_beat_are_named(file: Path) -> None:
    signals.celeryd_init.send(sender="files@here")
    signals.beat_init.send(sender=None)
    file.write_text(TEXT + "[plans.nightly]\n")
    found = outdated(load(file))
    assert found
    assert found.says.startswith("beat@here, files@here began before")


def test_what_can_not_be_told_is_not_told(file: Path) -> None:
    note("files@here")
    (file.parent / ".geometra-backup/processes/of-somebody-else").write_text("no JSON")
    file.rename(file.with_name("moved.toml"))
    assert outdated(load(file.with_name("moved.toml"))) is None
    (file.parent / "moved.toml").rename(file)
    end()
    processes = file.parent / ".geometra-backup/processes"
    assert outdated(load(file)) is None
    processes.rmdir()
    processes.write_text("a file in its place")
    note("files@here")
    assert outdated(load(file)) is None

"""Two machines that take one history for their own are told so: each lets go what the other needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flows.terminal import Terminal
from tests.redis_process import redis_process


@pytest.fixture
def other(copied: Terminal, tmp_path: Path) -> Terminal:
    """Another machine with the same keys, which `init --from` takes, that stores at the same place."""
    shutil.copytree(copied.folder, tmp_path / "other", symlinks=True, ignore=shutil.ignore_patterns("*.sock", ".geo*"))
    machine = Terminal(tmp_path / "other")
    shutil.rmtree(machine.folder / "backups")
    machine.edit('path = "backups"', f'path = "{copied.folder / "backups"}"')
    text = (machine.folder / "backup.toml").read_text()
    name = next(line for line in text.splitlines() if line.startswith("host = "))
    machine.edit(name, 'host = "other"')
    return machine


def told(machine: Terminal) -> tuple[dict[str, str], dict[str, str]]:
    """By source, what `check` advises and which problem `status` has."""
    checked = {each["what"]: each["advice"] for each in machine.json("check") if each["state"] == "weak"}
    code = 1 if checked else 0
    problems = {place["source"]: place["problem"] for place in machine.json("status", code=code)["sources"]}
    return checked, problems


def test_a_machine_that_takes_over_is_not_told_of_the_one_before(other: Terminal) -> None:
    other.run("run")
    assert told(other) == ({}, {"config": "", "docs": ""})


def test_two_that_go_on_at_once_are_told(copied: Terminal, other: Terminal) -> None:
    other.run("run", "--source", "docs")
    checked, problems = told(copied)
    assert list(checked) == ["repository docs at local"]
    assert "call the source otherwise on one of the two machines" in checked["repository docs at local"]
    assert problems["config"] == ""
    assert problems["docs"].startswith("`other` backs up into it too, as its own: call the source otherwise")
    copied.run("run", "--source", "docs")
    assert "backs up into it too" in told(other)[1]["docs"]
    assert told(copied)[1]["docs"] == "", "the other may have stood in for it, once"
    other.run("run", "--source", "docs")
    copied.run("run", "--source", "docs")
    assert "backs up into it too" in told(copied)[1]["docs"]


def test_hosts_that_share_a_broker_may_each_capture_it(
    copied: Terminal, other: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.run("run", "--source", "docs")
    with redis_process() as server:
        monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", server.url)
        assert copied.json("status")["good"]

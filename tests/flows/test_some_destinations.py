"""Commands about all sources, where a destination is not every source's."""

from __future__ import annotations

import pytest

from tests.flows.terminal import Terminal


@pytest.fixture
def second(copied: Terminal) -> Terminal:
    """A second destination, to which only one of the two sources goes."""
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[destinations.disk]\nkind = "local"\npath = "disk"\n')
    copied.edit("[sources.config]\n", '[sources.config]\ndestinations = ["local"]\n')
    (copied.folder / "disk").mkdir()
    return copied


def test_what_is_asked_of_one_destination_is_asked_of_the_sources_that_go_there(second: Terminal) -> None:
    second.run("run", "--source", "docs")
    only = ("-d", "disk")
    assert [(row["source"], row["destination"]) for row in second.json("list", *only)] == [("docs", "disk")]
    assert {(row["source"], row["destination"]) for row in second.json("find", "empty.toml", *only)} == {
        ("docs", "disk")
    }
    for command in ("verify", "prune"):
        assert [(each["source"], each["destination"]) for each in second.json(command, *only)] == [("docs", "disk")]
    assert "has local" in second.complaint("list", "config", *only, code=66)
    assert "known: local, disk" in second.complaint("prune", "-d", "disc", code=66)

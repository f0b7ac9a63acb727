"""Commands about all sources, where a destination is not every source's, or is away."""

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


def test_a_destination_that_is_away_is_told_and_hides_nothing_of_the_others(second: Terminal) -> None:
    second.run("run")
    (second.folder / "backups").rename(second.folder / "away")
    for command in (("list",), ("find", "empty.toml")):
        rows = second.json(*command, code=75)
        assert {(row["source"], row["destination"]) for row in rows} == {("docs", "disk")}
        told = second.run(*command, code=75).stderr.splitlines()
        assert len(told) == 1
        assert "Left out: local: " in told[0]
        assert "mount its disk" in told[0]
        assert "mount its disk" in second.complaint(*command, "-d", "local", code=75)
    pruned = second.json("prune", code=75)
    assert [(each["source"], each["destination"], each["state"]) for each in pruned] == [
        ("config", "local", "failed"),
        ("docs", "local", "failed"),
        ("docs", "disk", "done"),
    ]
    assert "mount its disk" in second.run("prune", code=75).stdout


def test_a_source_that_was_never_backed_up_stops_no_prune_of_the_others(second: Terminal) -> None:
    second.edit("[sources.config]\n", '[sources.anew]\nkind = "docs"\npaths = ["docs"]\n\n[sources.config]\n')
    assert [(each["source"], each["destination"]) for each in second.json("prune")] == [
        ("config", "local"),
        ("docs", "local"),
    ]
    assert second.run("prune", "-d", "disk").stdout == "Nothing was ever uploaded to disk.\n"
    assert "nothing was ever uploaded" in second.complaint("prune", "anew", "-d", "local", code=66)


def test_none_since_then_is_not_none_at_all(second: Terminal) -> None:
    assert second.run("list", "--since", "2126-01-01").stdout == "There is no snapshot since 2126-01-01 00:00 UTC.\n"

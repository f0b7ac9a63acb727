"""What the README promises is there: its configuration loads, its commands and options exist, its files too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tasks.configuration import parse
from workers.cli.main import COMMANDS, group
from workers.pools import POOLS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
LINES = [line.partition(" #")[0].strip() for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
OURS = sorted({line for line in LINES if line.startswith("geometra-backup ")})


def test_the_example_configuration_loads(tmp_path: Path) -> None:
    (example,) = (text for kind, text in BLOCKS if kind == "toml")
    settings = parse(example, tmp_path / "backup.toml")
    assert set(settings.sources) == {"config", "logs", "models", "code", "cache", "rows", "vectors"}


def test_there_are_exactly_two_commands_that_need_no_setup() -> None:
    assert [line for line in LINES if line.startswith("python3 ")] == ["python3 workers try", "python3 tests"]


@pytest.mark.parametrize("line", OURS)
def test_every_command_shown_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS
    command = group.get_command(click.Context(group), name)
    assert command is not None
    command.make_context(name, arguments)


def test_every_kind_of_source_is_in_the_table() -> None:
    from tasks.sources.kinds import SOURCES

    assert all(f"`{kind}`" in README for kind in SOURCES)


def test_every_command_and_every_file_named_exists() -> None:
    assert all(f"geometra-backup {name}" in README or f"`{name}" in README or name == "try" for name in COMMANDS)
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_no_long_task_stands_in_the_way_of_plans_and_reports() -> None:
    served = [set(queues.split(",")) for queues in re.findall(r"celery -A workers worker .* -Q (\S+)", README)]
    assert {pool.name for pool in POOLS} <= set.union(*served)
    assert {"control"} in served
    assert sum("control" in queues for queues in served) == 1

"""What commands print of what others wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rich.text import Text

from tasks.repository import Flawed, Snapshot
from tests.repositories import START
from workers.cli import screen
from workers.cli.show import _print

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e[/bold]"
ESCAPED = r"\x1b]0;owned\x07\x1b[2J\u202e[/bold]"


def test_nothing_in_a_snapshot_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has a writer's key can seal any text as a snapshot's host, run, roots, flaws and facts."""
    snapshot = Snapshot(
        id="20261101T020000Z-1a2b3c4d",
        source=EVIL,
        kind=EVIL,
        run=EVIL,
        plan=EVIL,
        host=EVIL,
        started=START,
        finished=START + timedelta(minutes=1),
        complete=False,
        version=EVIL,
        level=0,
        content="",
        roots={EVIL: EVIL},
        flaws=(Flawed(EVIL, EVIL, EVIL),),
        packs=(),
        facts={EVIL: EVIL},
        figures={},
    )
    _print(snapshot, "here", [])
    printed = capsys.readouterr().out
    assert printed.count(ESCAPED) == 11
    assert printed.replace("\n", "").isprintable()


@pytest.mark.parametrize("cell", [EVIL, Path(EVIL), Text(EVIL, style="red")], ids=["text", "path", "styled"])
def test_nothing_in_a_table_controls_the_terminal(cell: object, capsys: pytest.CaptureFixture[str]) -> None:
    screen.table(("what",), [(cell,)])
    printed = capsys.readouterr().out
    assert r"\x1b]0;owned" in printed
    assert printed.replace("\n", "").isprintable()


def test_lines_stay_lines_and_words_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    screen.console.print("one\ntwo: Größe, 名前")
    assert capsys.readouterr().out == "one\ntwo: Größe, 名前\n"


@pytest.mark.parametrize("width", [40, 80])
def test_no_column_vanishes_on_a_narrow_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ("snapshot", "source", "at", "taken", "state", ("holds", "right"), ("stored", "right"))
    row = ("20261101T020000Z-1a2b3c4d", "config", "offsite", "3 d ago", Text("damaged", style="red"), "1 kB", "+9 MB")
    monkeypatch.setattr(screen.console, "width", width)
    screen.table(columns, [row], title="All")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert "All" in lines[0]
    for content in map(str, row):
        assert any(content in line for line in lines), content
    assert any(line.split() == ["state", "damaged"] for line in lines) is (width == 40)


def test_on_a_narrow_terminal_a_cell_is_as_bright_as_on_a_wide_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "console", screen._Console(force_terminal=True, width=10, color_system="standard"))
    screen.table(("source", "state"), [("config", Text("good", style="green"))])
    assert capsys.readouterr().out.splitlines()[:2] == [
        "\x1b[2msource  \x1b[0mconfig",
        "\x1b[2mstate   \x1b[0m\x1b[32mgood\x1b[0m",
    ]


def test_a_long_table_stays_in_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    screen.table(("path", ("size", "right"), "at"), ((f"file-{n:05}", f"{n} B", "disk") for n in range(2500)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2501
    assert lines[1].split() == ["file-00000", "0", "B", "disk"]
    assert lines[1000].index("disk") == lines[1900].index("disk") - len("1")
    assert lines[2500].split() == ["file-02499", "2499", "B", "disk"]


def test_a_long_list_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    for rows in ([], [{"path": "ä"}], [{"at": START}, {"at": 2}]):
        screen.print_json_list(iter(rows))
        assert capsys.readouterr().out == json.dumps(rows, default=lambda value: value.isoformat()) + "\n"


def test_nothing_is_printed_of_a_list_that_does_not_come_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        screen.print_json_list(rows())
    assert capsys.readouterr().out == ""

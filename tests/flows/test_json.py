"""With --json, standard output is one document that a script can read, whatever becomes of the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.flows.terminal import ROOT, Terminal
from tests.redis_process import redis_process


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore",),
        ("mirror", "local", "local"),
        ("nothing",),
        ("list", "--nothing"),
        ("restore", "docs", "--to"),
        ("serve", "--concurrency", "0"),
    ],
    ids=" ".join,
)
def test_what_is_not_understood_is_one_too(lived: Terminal, arguments: tuple[str, ...]) -> None:
    said = lived.run("--json", *arguments, code=2)
    error = json.loads(said.stdout)["error"]
    assert error["kind"] == "UsageError"
    assert error["message"].splitlines()[0] in said.stderr


def test_so_is_an_interrupt(lived: Terminal) -> None:
    command = [sys.executable, "-m", "workers.cli.main", "--json", "restore", "docs", "--recovery-sheet", "sheet"]
    os.mkfifo(lived.folder / "sheet")
    try:
        with subprocess.Popen(
            command, cwd=lived.folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        ) as child:
            with (lived.folder / "sheet").open("w"):  # once it reads there
                child.send_signal(signal.SIGINT)
                assert child.communicate(timeout=60)[0] == (
                    b'{"error": {"kind": "Interrupted", "message": "interrupted"}}\n'
                )
            assert child.returncode == 130
    finally:
        (lived.folder / "sheet").unlink()


def test_so_is_a_run_that_is_only_sent(copied: Terminal) -> None:
    with redis_process() as broker:
        (copied.folder / "broker").write_text(broker.url)
        text = (copied.folder / "backup.toml").read_text()
        (copied.folder / "backup.toml").write_text(f'broker = "file:broker"\n{text}')
        run = copied.json("run", "--no-wait")["run"]
        assert copied.run("run", "--no-wait").stdout.strip() not in ("", run)

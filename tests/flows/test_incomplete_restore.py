"""A restore that gives all back but what it names is told from one that gives all back by its exit code too."""

from __future__ import annotations

import os
import socket

from tests.flows.terminal import Terminal


def test_what_is_not_given_back_makes_the_exit_code(copied: Terminal) -> None:
    home = os.open(copied.folder / "docs", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{home}/socket")  # the path of a socket is short
        os.close(home)
        assert copied.json("run", "--source", "docs")["state"] == "done"
    said = copied.run("restore", "docs", "--to", "back", code=3)
    assert "Restored" in said.stdout
    assert "Not given back: 1 item: a socket is made by the server that listens on it" in said.stderr
    (line,) = copied.json("restore", "docs", "--to", "back", "--overwrite", code=3)["not_restored"]
    assert "docs/socket" in line
    copied.run("restore", "docs", "docs/empty.toml", "--to", "some")

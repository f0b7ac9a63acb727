"""What somebody sees who stops a command that waits: one line, and nothing of what is inside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.flows.terminal import ROOT, Terminal


def test_a_run_that_waited_for_long_ends_with_one_line(copied: Terminal) -> None:
    copied.edit("[sources.", '[destinations.away]\nkind = "local"\npath = "away"\n\n[sources.')
    # Its messages are sent again after a second.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GEOMETRA_BACKUP_VISIBILITY_SECONDS": "1"}
    command = [sys.executable, "-m", "workers.cli.main", "run", "--source", "docs"]
    with subprocess.Popen(
        command, cwd=copied.folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as child:
        try:
            assert child.stderr
            assert any("upload/docs/away waits" in line for line in child.stderr)
            time.sleep(3)
            child.send_signal(signal.SIGINT)
            told = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert told.strip() == "geometra-backup: interrupted"
    assert child.returncode == 130

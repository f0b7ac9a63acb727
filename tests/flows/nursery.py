"""Celery processes that are forked from one that has imported everything: flows start and kill hundreds.

`python -m tests.flows.nursery` reads a JSON line for each: `arguments` of `celery`, its whole `environment`, `log`; and
answers with its process id. A line with `ended`, such an id, is answered when that process is gone. It ends with its
input.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Nursery:
    """In the test's own process. `environment` holds what the program reads when it is imported. Safe in threads."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.imported = dict(environment)
        self._lock = threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.nursery"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """Its process id, which is that of a group of its own."""
        return self._ask(arguments=list(arguments), environment={**os.environ, **environment}, log=str(log))

    def kill(self, process: int) -> None:
        """With all its children, and wait for its end."""
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        self.reap(process)

    def reap(self, process: int) -> None:
        """Wait for the end of one that was killed, or has ended."""
        self._ask(ended=process)

    def close(self) -> None:
        assert self._child.stdin
        assert self._child.stdout
        with self._child.stdin, self._child.stdout:
            self._child.stdin.close()
            self._child.wait(30)

    def _ask(self, **line: Any) -> int:
        assert self._child.stdin
        assert self._child.stdout
        with self._lock:
            self._child.stdin.write(json.dumps(line) + "\n")
            self._child.stdin.flush()
            return int(self._child.stdout.readline())


class Born:
    """A process of a nursery, with what tests use of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, process: int) -> None:
        self._nursery, self.pid, self._ended = nursery, process, False

    def poll(self) -> int | None:
        """0 where it has ended, however it did."""
        if not self._ended and runs(self.pid):
            return None
        if not self._ended:
            self._nursery.reap(self.pid)
            self._ended = True
        return 0

    def wait(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def runs(process: int) -> bool:
    """Also one that is dead and not reaped yet counts as gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    from tests.flows import kinds

    kinds.register()
    # What the command line imports when it is asked for, imported now.
    import celery.apps.beat
    import celery.apps.worker
    import celery.bin.celery
    import celery.concurrency.prefork  # noqa: F401

    from workers.celery import app

    gc.freeze()
    for text in sys.stdin:
        line = json.loads(text)
        if "ended" in line:
            with suppress(ChildProcessError):
                os.waitpid(line["ended"], 0)
            answer = line["ended"]
        elif (answer := os.fork()) == 0:
            _become(app, line)
        else:
            with suppress(OSError):  # here and there: who comes first
                os.setpgid(answer, answer)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _become(app: Any, line: Mapping[str, Any]) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        output = os.open(line["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
            os.dup2(descriptor, number)
        os.environ.clear()
        os.environ.update(line["environment"])
        app.start(line["arguments"])
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()

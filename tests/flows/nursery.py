"""Celery processes that are forked from one that has imported everything: a fault night starts and kills dozens.

`python -m tests.flows.nursery` reads a JSON line for each: `arguments` of `celery`, `environment`, `log`; and answers
with its process id. A line with `ended`, such an id, is answered when that process is gone. It ends with its input.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Nursery:
    """In the test's own process. `environment` holds what the program reads when it is imported. Safe in threads."""

    def __init__(self, environment: Mapping[str, str]) -> None:
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
        return self._ask(arguments=list(arguments), environment=dict(environment), log=str(log))

    def kill(self, process: int) -> None:
        """With all its children, and wait for its end."""
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
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
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _become(app: Any, line: Mapping[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        output = os.open(line["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
            os.dup2(descriptor, number)
        os.environ.update(line["environment"])
        app.start(line["arguments"])
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()

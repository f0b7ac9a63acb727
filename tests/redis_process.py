"""A real Redis or Valkey server as a child of a test: on a Unix socket, keeping its data, to be killed at will."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.broker_program import find_server

KEEPING = ("--appendonly", "yes", "--appendfsync", "everysec")


class RedisProcess:
    """Keeps its data over a `kill` and a `start`, as a broker with an append-only file does. `options` replace that;
    `port` is 0 for a server that listens on its socket only; `program` is another server than the machine's own."""

    def __init__(
        self, folder: Path, *options: str, port: int = 0, program: Path | None = None, password: str = ""
    ) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.port = port
        self._options = options or KEEPING
        self._program = program
        self._password = password
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self.port and self._password:
            return f"redis://:{self._password}@127.0.0.1:{self.port}/0"
        return f"redis+socket://{self.socket}?virtual_host=0"

    def client(self, database: int = 0, *, text: bool = True) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.socket),
            db=database,
            password=self._password or None,
            decode_responses=text,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=20,
        )

    @property
    def process(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        program = str(self._program or find_server())
        command = [program, "--port", str(self.port), "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        command += ["--save", "", "--logfile", "redis.log", *self._options]
        if self._password:
            command += ["--requirepass", self._password]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self._child.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "the test's Redis does not start"
            time.sleep(0.01)

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._child:
            self._child.send_signal(number)
            self._child.wait()
            self._child = None

    def ensure(self) -> None:
        """Start it, unless it runs."""
        if self._child is None:
            self.start()
        self.thaw()

    def freeze(self) -> None:
        """Stopped, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child:
            self._child.send_signal(number)

    def _answers(self) -> bool:
        with closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@contextmanager
def redis_process(
    *options: str, port: int = 0, program: Path | None = None, password: str = ""
) -> Iterator[RedisProcess]:
    # Not pytest's own temporary folder: a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="gbt-"))
    server = RedisProcess(folder, *options, port=port, program=program, password=password)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

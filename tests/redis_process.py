"""A real Redis or Valkey server as a child of a test: on a Unix socket, or on loopback with a password; keeping its
data, to be killed at will."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.private_broker import find_server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisProcess:
    """Keeps its data over a `kill` and a `start`, as a broker with an append-only file does."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self._folder, self._password = folder, password
        self._port = free_port() if password else 0
        self._socket = folder / "redis.sock"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self._password:
            return f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        return f"redis+socket://{self._socket}?virtual_host=0"

    def client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self._socket),
            password=self._password or None,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5,
        )

    def start(self) -> None:
        command = [str(find_server()), "--port", str(self._port), "--unixsocket", str(self._socket)]
        command += ["--bind", "127.0.0.1", "--dir", str(self._folder), "--logfile", "redis.log"]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        command += ["--requirepass", self._password] if self._password else []
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self._child.poll() is None, (self._folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "the test's Redis does not start"
            time.sleep(0.01)

    def kill(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _answers(self) -> bool:
        with closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@contextmanager
def redis_process(password: str = "") -> Iterator[RedisProcess]:
    # Not pytest's own temporary folder: a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="gbt-"))
    server = RedisProcess(folder, password)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

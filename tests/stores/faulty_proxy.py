"""A proxy that misbehaves on a schedule, repeatable from a seed, between an SDK and the server it talks to."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = [
    "stall",
    "reset in the request",
    "reply lost",
    "reply cut",
    "reply too long",
    "500",
    "503",
    "429",
    "request flipped",
    "reply flipped",
]


LARGE = 1 << 20


class FaultyProxy:
    """Each request meets a fault with `rate`, but no more than `patience` in a row do. Those in `coming` come first, to
    large bodies only, at the place in them, from 0 to 1, that stands beside each. `received` counts the bytes of all
    bodies that came from clients, `requests` how often they asked. What has `never` in its path is always a 500."""

    def __init__(self, upstream: str, stall_seconds: float) -> None:
        parts = urlsplit(upstream)
        self.upstream = (str(parts.hostname), int(parts.port or 80))
        self.stall_seconds = stall_seconds
        self.happened: list[str] = []
        self.received = self.requests = 0
        self.coming: list[tuple[str, float]] = []
        self.never = ""
        self._lock = threading.Lock()
        self.schedule(0, 0)

    def count(self, body: bytes) -> bytes:
        with self._lock:
            self.received += len(body)
        return body

    def schedule(self, seed: int, rate: float, patience: int = 3, gone_after: int | None = None) -> None:
        """`gone_after` so many requests every other is reset, for good."""
        self._chance, self._rate, self._patience, self._in_a_row = random.Random(seed), rate, patience, 0
        self._left = gone_after

    def draw(self, length: int) -> tuple[str, float]:
        """A fault, "" for none, and where it strikes in a body of so many bytes."""
        with self._lock:
            self.requests += 1
            if self.coming:
                if length < LARGE:
                    return "", 0
                self.happened.append(self.coming[0][0])
                return self.coming.pop(0)
            place = self._chance.random()
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    return "reset in the request", place
            if self._chance.random() >= self._rate or self._in_a_row >= self._patience:
                self._in_a_row = 0
                return "", place
            self._in_a_row += 1
            fault = self._chance.choice(FAULTS)
            self.happened.append(fault)
            return fault, place


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultyProxy

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        fault, place = self.proxy.draw(length)
        if self.proxy.never and self.proxy.never in self.path:
            fault = "500"
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.close_connection = True
        if fault == "reset in the request":
            self._forward_start(self.proxy.count(self.rfile.read(int(length * place))))
            self._reset()
            return
        body = self.proxy.count(self.rfile.read(length))
        if fault in ("500", "503", "429"):
            self._answer(int(fault), [("Content-Length", "0")], b"")
            return
        if fault == "request flipped":
            body = _flipped(body, place)
        status, headers, content = self._forward(body)
        if fault == "reply lost":
            self._reset()
        elif fault == "stall":
            time.sleep(self.proxy.stall_seconds)
            self._reset()
        elif fault == "reply cut":
            self._answer(status, headers, content[: int(len(content) * place)])
            self._reset()
        elif fault == "reply too long":
            longer = [
                (name, str(int(value) + 7) if name.lower() == "content-length" else value) for name, value in headers
            ]
            self._answer(status, longer, content)
            self._reset()
        else:
            flipped = fault == "reply flipped" and not _is_document(headers)
            self._answer(status, headers, _flipped(content, place) if flipped else content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _do  # noqa: N815 - the names that http.server looks for

    def _forward_start(self, start: bytes) -> None:
        """The server sees what came until then, and then nobody any more."""
        connection = http.client.HTTPConnection(*self.proxy.upstream, timeout=30)
        try:
            self._request(connection, start)
            if len(start) >= LARGE and connection.sock:
                # Until it has taken in all that came: who asks at once how much that was must not come before.
                connection.sock.shutdown(socket.SHUT_WR)
                connection.sock.settimeout(5)
                with suppress(OSError):
                    while connection.sock.recv(65536):
                        pass
        finally:
            connection.close()

    def _request(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.proxy.upstream, timeout=30)
        try:
            self._request(connection, body)
            answer = connection.getresponse()
            content = answer.read()
            left_out = ("connection", "transfer-encoding", "keep-alive")
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in left_out]
            if "content-length" not in {name.lower() for name, _ in headers} and answer.status not in (204, 304):
                headers.append(("Content-Length", str(len(content))))
            return answer.status, headers, content
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.close_connection:
            # Or whoever asks next over this connection may find it closed while they do: a fault that nobody ordered.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _is_document(headers: list[tuple[str, str]]) -> bool:
    """A listing, or an error: no service gives a checksum of these, only TLS guards them."""
    kinds = [value for name, value in headers if name.lower() == "content-type"]
    return any("json" in kind or "xml" in kind for kind in kinds)


def _flipped(content: bytes, place: float) -> bytes:
    if not content:
        return content
    wrong = bytearray(content)
    wrong[int(len(wrong) * place)] ^= 4
    return bytes(wrong)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A connection that one of the two sides has given up, which is the point."""


@contextmanager
def faulty_proxy(upstream: str, stall_seconds: float = 0.5) -> Iterator[tuple[FaultyProxy, str]]:
    """The proxy and its URL."""
    proxy = FaultyProxy(upstream, stall_seconds)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

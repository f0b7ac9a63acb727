"""A web server that speaks TLS with a certificate that nobody knows, made for one test."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def certificate(folder: Path, host: str = "127.0.0.1") -> Path:
    """One that signs itself, for that host, with its key in the same file."""
    file = folder / f"{host}.pem"
    kind = "IP" if host[0].isdigit() else "DNS"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={kind}:{host}", "-keyout", str(file), "-out", str(folder / f"{host}.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    file.write_text(file.read_text() + (folder / f"{host}.crt").read_text())
    return file


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_HEAD(self) -> None:
        self.send_response(204)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that does not trust us, which is the point."""


@contextmanager
def tls_server(pem: Path) -> Iterator[str]:
    """Its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

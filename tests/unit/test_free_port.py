"""A port that is held for a server: who asks for any does not get it, and the server does."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.sources.kept_server import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not lend a bound port")


def test_a_held_port_is_its_servers_alone() -> None:
    with free_port() as port:
        with socket.socket() as unanswered:
            assert unanswered.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"), free_port(port):
        pass


TAKEN = """
import fcntl, socket, struct
from pathlib import Path
from tasks.sources.kept_server import free_port

with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP: netdevice(7)
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40009")
with free_port() as port:
    for take in (lambda one: one.bind(("127.0.0.1", 0)), lambda one: one.connect(server.getsockname())):
        server = socket.create_server(("127.0.0.1", 39000))
        taken = [socket.socket() for _ in range(9)]
        for one in taken:
            take(one)
        try:
            take(socket.socket())
        except OSError:
            print(port not in {one.getsockname()[1] for one in taken})
        for one in (*taken, server):
            one.close()
"""


@pytest.mark.needs("unshare")
@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own, with ten ports, is root's to make")
def test_a_held_port_is_not_given_away_where_all_others_are_taken() -> None:
    command = ["unshare", "--net", sys.executable, "-c", TAKEN]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")

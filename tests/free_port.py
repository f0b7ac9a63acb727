"""Ports of loopback for the servers of tests, and for where nobody listens."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack

from tasks.sources import kept_server

_BUS = 10_000
_MOST = 100
"""For so many further ports, one stays its server's, also while that is down."""

_held: deque[ExitStack] = deque()


def free_port() -> int:
    """Nobody listens there, nor on the one of its cluster bus, and none but a server that is told to will."""
    while True:
        with ExitStack() as stack:
            port = stack.enter_context(kept_server.free_port())
            try:
                stack.enter_context(kept_server.free_port(port + _BUS))
            except (OSError, OverflowError):
                continue
            _held.append(stack.pop_all())
        if len(_held) > _MOST:
            _held.popleft().close()
        return port

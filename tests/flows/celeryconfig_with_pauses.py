"""As the flows have it, and what is long leaves a process of the pool in two halves, with a pause between them. A file
that the environment names tells of it."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

from billiard.connection import Connection

from tests.flows.celeryconfig_with_gates import *  # noqa: F403

_PAUSE = 1.0
"""Seconds."""


def _send_bytes(self: Any, content: Any) -> None:
    _whole(self, content) if len(content) <= 16384 else _in_halves(self, content)


def _in_halves(self: Any, content: Any) -> None:
    self._send(struct.pack("!i", len(content)))
    Path(os.environ["GEOMETRA_TESTS_HALF"]).touch()
    time.sleep(_PAUSE)
    self._send(content)


_connection: Any = Connection
_whole, _connection._send_bytes = _connection._send_bytes, _send_bytes  # between header and content

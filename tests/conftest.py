"""The programs of this machine that tests may need. A missing one skips on a laptop and fails where CI=true."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Contracts are plain classes in modules of their own: their assertions should show values too.
pytest.register_assert_rewrite("tests.contracts")

# An operator who runs the tests may have those of his own installation set.
for name in ("GEOMETRA_BACKUP_CONFIG", "GEOMETRA_BACKUP_PASSPHRASE", "GEOMETRA_BACKUP_BROKER"):
    os.environ.pop(name, None)

_PACKAGES = {
    "getfacl": "acl",
    "setfacl": "acl",
    "getfattr": "attr",
    "setfattr": "attr",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "/usr/lib/redis/modules/redisearch.so": "redis-redisearch",
}
"""The Debian package of a program, where its name is another; `.ci/run` installs them all."""

_OTHERWISE = {"azurite-blob": "npm install --global azurite@3.35.0"}


def _require(program: str) -> str:
    path = shutil.which(program) or (program if os.path.isfile(program) else None)
    if path:
        return path
    how = _OTHERWISE.get(program, f"Debian: apt-get install {_PACKAGES.get(program, program)}")
    missing = f"`{program}` is not on PATH ({how})"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing}; with CI=true nothing may be skipped", pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """For fixtures: `require("redis-server")` is that program's path, or the test ends here."""
    return _require


def pytest_runtest_setup(item: pytest.Item) -> None:
    """For tests: `@pytest.mark.needs("git", "setfacl")`."""
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            _require(program)


@pytest.fixture(scope="session")
def filled_chroma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a Chroma has filled with all that it can hold, and closed. For copies: nothing changes it."""
    from tests.chroma_process import chroma

    folder = tmp_path_factory.mktemp("chroma") / "store"
    chroma("fill", folder)
    return folder

"""The lock files say what pyproject.toml asks for, and nothing of where it was fetched."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(lock: str) -> dict[str, set[str]]:
    """Versions by name; a package may be locked more than once, for different Pythons."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def asked(*groups: str) -> list[Requirement]:
    texts = [*PYPROJECT["project"]["dependencies"]]
    for group in groups:
        texts += PYPROJECT["dependency-groups"][group]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize(
    ("lock", "groups"), [("requirements.lock", ["build"]), ("requirements-test.lock", ["build", "test"])]
)
def test_every_dependency_is_locked_within_its_range(lock: str, groups: list[str]) -> None:
    versions = locked(lock)
    for requirement in asked(*groups):
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"{lock} lacks {requirement.name}: renew it with the command in its first lines"
        assert all(version in requirement.specifier for version in found), f"{requirement} but {lock} has {found}"


def test_the_tests_run_on_the_versions_that_users_get() -> None:
    tests = locked("requirements-test.lock")
    for name, versions in locked("requirements.lock").items():
        assert tests.get(name) == versions, f"{name}: renew requirements-test.lock after requirements.lock"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock"])
def test_every_pin_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    for pin in re.findall(r"^\S+==.*(?:\n    .*)*", text, re.MULTILINE):
        assert "--hash=sha256:" in pin

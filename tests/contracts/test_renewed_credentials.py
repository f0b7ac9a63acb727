"""Credentials that are replaced while a worker lives: it goes on with the new ones, and need not be started anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.destinations import Destination, open_destination
from tasks.errors import Refused
from tests.stores.azure import AzureServer
from tests.stores.gcs import GcsServer

Case = tuple[Destination, Callable[[], None], Destination]
"""One with credentials that have ended, what replaces them in their file, and the same store with others."""


@pytest.fixture
def of_azure(azure: AzureServer) -> Case:
    container = azure.container()
    used, new = azure.signature(container, "rcwdl", hours=-1), azure.signature(container, "rcwdl")
    destination = open_destination(azure.settings(container, account_key=None, sas=used))
    assert used.file
    assert new.file
    replaced, replacing = used.file, new.file
    return destination, lambda: _replace(replaced, replacing), open_destination(azure.settings(container))


@pytest.fixture
def of_google(gcs: GcsServer) -> Case:
    bucket = gcs.bucket()
    used = gcs.account("ended", [])
    new = gcs.account("new", [f"storage.objects.{right}" for right in ("create", "get", "list", "delete")])
    destination = open_destination(gcs.settings(bucket, anonymous=False, credentials=used))
    return destination, lambda: _replace(used, new), open_destination(gcs.settings(bucket))


@pytest.mark.parametrize("kind", ["of_azure", "of_google"])
def test_credentials_that_were_replaced_are_used_from_then_on(request: pytest.FixtureRequest, kind: str) -> None:
    operations: dict[str, Callable[[Destination], object]] = {
        "put": lambda at: at.put("packs/two", b"2"),
        "get": lambda at: at.get("packs/one"),
        "list": lambda at: list(at.list("packs/")),
        "delete": lambda at: at.delete("packs/one"),
    }
    destination, replace, direct = request.getfixturevalue(kind)
    direct.put("packs/one", b"1")
    for operation in operations.values():
        with pytest.raises(Refused):
            operation(destination)
    replace()
    for operation in operations.values():
        operation(destination)
    assert [each.name for each in direct.list()] == ["packs/two"]


def _replace(old: Path, new: Path) -> None:
    shutil.copy(new, old)

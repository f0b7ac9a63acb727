"""A drill of what a worker that was taken over has written: it touches nothing outside its scratch folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.configuration import parse
from tasks.drill import drill
from tasks.errors import Damaged
from tasks.installation import Installation
from tasks.item import SYMLINK
from tasks.repository import About, snapshot_id
from tests.flows.terminal import short_folder
from tests.flows.test_verbs import NOW
from tests.memory_source import File, MemoryCapture
from tests.repositories import PASSPHRASE, keys

TEXT = """
[sources.cache]
kind = "redis"
url = "unix:///nowhere/redis.sock"
[destinations.here]
kind = "local"
path = "here"
"""


@pytest.mark.parametrize("name", [b"scratch.conf", b"scratch.log", b"dump.rdb"])
def test_a_link_in_the_place_of_a_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    """Such as one where the scratch server's settings or its log are written."""
    for folder in ("keys", "here"):
        (tmp_path / folder).mkdir()
    keys().put_into(tmp_path / "keys")
    installed = Installation(parse(TEXT, tmp_path / "backup.toml"), passphrase=PASSPHRASE)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    link = File(b"", {"type": SYMLINK, "link": str(outside).encode()})
    files: dict[bytes, File | bytes] = {b"dump.rdb": b"REDIS0010\xff" + bytes(8), name: link}
    repository = installed.repository("cache", "here", reader=True, create=True)
    about = About(snapshot_id("cache", "run", NOW), "cache", "redis", "run", NOW)
    capture = MemoryCapture(files)
    monkeypatch.setattr(capture, "facts", lambda: {"not_counted": "nothing"})
    repository.save(capture, about, repository.destination)
    with short_folder() as scratch:
        monkeypatch.setenv("TMPDIR", str(scratch))
        with pytest.raises(Damaged, match=f"`{name.decode()}` is neither a file nor a folder"):
            drill(installed, "cache", "here")
    assert outside.read_text() == "mine"

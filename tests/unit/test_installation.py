"""Settings become parts: made when asked for, once a process, and anew after a fork."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.configuration import parse
from tasks.errors import NotARepository, NotFound, Refused, SettingsError, Unavailable, WrongKey
from tasks.installation import PASSPHRASE, Installation
from tasks.repository import ReaderKey
from tests.repositories import PASSPHRASE as RIGHT
from tests.repositories import keys

TEXT = """
[sources.docs]
kind = "docs"
paths = ["documents"]
[destinations.here]
kind = "local"
path = "store"
[destinations.offsite]
kind = "local"
path = "offsite"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    for name in ("keys", "store", "documents"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    return tmp_path


def install(folder: Path, more: str = "", **options: Any) -> Installation:
    return Installation(parse(more + TEXT, folder / "backup.toml"), **options)


def test_a_source_comes_with_its_name_and_settings(folder: Path) -> None:
    source = install(folder).source("docs")
    assert source.kind == "docs"
    with pytest.raises(NotFound, match="there is no source `dcos`; known: docs"):
        install(folder).source("dcos")


def test_a_destination_is_seen_whole_or_by_one_source(folder: Path) -> None:
    installation = install(folder)
    installation.destination("here", "docs").put("object", b"1")
    assert [listed.name for listed in installation.destination("here").list()] == ["docs/object"]
    with pytest.raises(NotFound, match="there is no destination `heer`; known: here, offsite"):
        installation.destination("heer")


def test_a_repository_is_made_only_by_who_may_make_it(folder: Path) -> None:
    installation = install(folder)
    with pytest.raises(NotARepository):
        installation.repository("docs", "here")
    assert installation.repository("docs", "here", create=True).source == "docs"
    assert installation.repository("docs", "here").snapshots() == []
    with pytest.raises(Unavailable):
        installation.repository("docs", "offsite", create=True)


@pytest.mark.parametrize("create", [False, True])
def test_a_destination_that_lost_its_repository_is_none_that_never_had_one(folder: Path, create: bool) -> None:
    cache = folder / ".geometra-backup/cache/here/docs"
    cache.mkdir(parents=True)  # as the first upload does
    with pytest.raises(Refused, match="`here` held backups of `docs` and holds none now"):
        install(folder).repository("docs", "here", create=create)
    cache.rmdir()
    with pytest.raises(NotARepository):
        install(folder).repository("docs", "here")


def test_repositories_that_somebody_swapped_are_neither_read_nor_written(folder: Path) -> None:
    """They would open, each under its own keys, and one source's files would come back as the other's."""
    more = '[sources.config]\nkind = "config"\npaths = ["documents"]\n'
    installation = install(folder, more)
    for source in ("docs", "config"):
        installation.repository(source, "here", create=True)
    store = folder / "store"
    for old, new in (("docs", "passing"), ("config", "docs"), ("passing", "config")):
        (store / old).rename(store / new)
    for create in (False, True):
        with pytest.raises(Refused, match=r"`docs/` at `here` holds the backups of `config`.*put each back"):
            installation.repository("docs", "here", create=create)


def test_a_source_that_got_another_name_keeps_its_history_where_its_folder_got_it_too(folder: Path) -> None:
    install(folder).repository("docs", "here", create=True)
    (folder / "store/docs").rename(folder / "store/documents")
    renamed = Installation(parse(TEXT.replace("sources.docs", "sources.documents"), folder / "backup.toml"))
    assert renamed.repository("documents", "here", create=True).source == "docs"


def test_its_history_is_begun_at_another_destination_as_what_it_is(folder: Path) -> None:
    install(folder).repository("docs", "here", create=True)
    (folder / "store/docs").rename(folder / "store/documents")
    (folder / "offsite").mkdir()
    (folder / ".geometra-backup/cache/here/documents").mkdir(parents=True)  # as the first upload there does
    renamed = Installation(parse(TEXT.replace("sources.docs", "sources.documents"), folder / "backup.toml"))
    assert renamed.repository("documents", "offsite", create=True).source == "docs"


def test_a_worker_that_backs_up_needs_no_passphrase_and_cannot_read(folder: Path) -> None:
    assert not isinstance(install(folder).writer_key(), ReaderKey)


def test_missing_or_broken_keys_are_one_clear_line(folder: Path) -> None:
    (folder / "keys/writer.key").write_text("not a key")
    with pytest.raises(WrongKey, match="no writer key"):
        install(folder).writer_key()
    (folder / "keys/writer.key").unlink()
    with pytest.raises(SettingsError, match=r"writer\.key` is missing: `geometra-backup init` beside"):
        install(folder).writer_key()
    (folder / "keys/writer.key").mkdir()
    with pytest.raises(SettingsError, match="can't be read"):
        install(folder).writer_key()


def test_the_private_key_needs_the_passphrase_from_any_of_its_places(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"keys\.passphrase"):
        install(folder).reader_key()
    assert install(folder, passphrase=RIGHT).reader_key() == keys().reader
    monkeypatch.setenv(PASSPHRASE, RIGHT)
    assert install(folder).reader_key() == keys().reader
    (folder / "passphrase").write_text("the wrong one\n")
    with pytest.raises(WrongKey):
        install(folder, '[keys]\npassphrase = "file:passphrase"\n').reader_key()


def test_no_error_tells_a_secret(folder: Path) -> None:
    with pytest.raises(WrongKey) as error:
        install(folder, passphrase="a secret phrase").reader_key()
    assert "a secret phrase" not in str(error.value)
    assert keys().writer.to_text().split()[-1] not in repr(install(folder).writer_key())


def test_parts_are_made_once_a_process_and_anew_after_a_fork(folder: Path) -> None:
    installation = install(folder)
    record = installation.record
    assert installation.record is record
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"other" if installation.record is not record else b"same")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 9) == b"other"
    os.close(reading)
    os.close(writing)
    assert installation.record is record

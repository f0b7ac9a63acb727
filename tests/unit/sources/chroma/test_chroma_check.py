"""What `check` and `capture` say of each bad input: one clear line, what to do, and never a secret."""

from __future__ import annotations

import http.server
import os
import pickle
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.errors import BackupError, NoSpace, Refused, SettingsError, SourceError, Unavailable
from tasks.scratch import scratch_folder
from tasks.sources.chroma import folder_check
from tasks.sources.chroma.pickled import persisted
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.settings import ChromaSettings, ChromaTarget
from tasks.sources.chromadb import Chroma
from tests.contracts.child import Child, as_nobody, passable
from tests.contracts.memory_items import Saved


def source_of(**options: Any) -> Chroma:
    return Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", **options}))


def said(source: Chroma) -> str:
    """The one thing that `check` finds; `capture` says as much, in an error of ours."""
    [problem] = source.check()
    assert problem.fatal
    assert problem.advice
    assert "\n" not in problem.what
    return problem.what


def refusal(source: Chroma) -> BackupError:
    with pytest.raises(BackupError) as raised:
        list(source.capture())
    assert "\n" not in str(raised.value)
    return raised.value


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The URL of a server that has one answer for all."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_folder_that_is_not_there_or_is_no_chroma(tmp_path: Path) -> None:
    absent = source_of(path=tmp_path / "absent")
    assert said(absent) == f"the folder `{tmp_path / 'absent'}` is not there"
    assert isinstance(refusal(absent), SourceError)
    (tmp_path / "empty").mkdir()
    assert "there is no `chroma.sqlite3`" in said(source_of(path=tmp_path / "empty"))
    (tmp_path / "odd").mkdir()
    with closing(sqlite3.connect(tmp_path / "odd/chroma.sqlite3")) as other:
        other.execute("CREATE TABLE songs (name)")
    odd = source_of(path=tmp_path / "odd", scratch=tmp_path / "scratch")
    assert "no such table: segments" in said(odd)
    assert "not of a Chroma that is supported" in str(refusal(odd))
    (tmp_path / "odd/chroma.sqlite3").write_bytes(b"no database at all" * 1000)
    assert "file is not a database" in said(odd)
    assert isinstance(refusal(odd), SourceError)


def test_too_little_room_and_a_scratch_folder_that_can_not_be_written(
    filled_chroma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(path=filled_chroma, scratch=tmp_path / "to/be/made")
    assert source.check() == []
    monkeypatch.setattr(folder_check, "_SPARE", 1 << 60)
    assert "MiB free and needs about" in said(source)
    (tmp_path / "file").touch()
    assert isinstance(refusal(source_of(path=filled_chroma, scratch=tmp_path / "file")), Refused)
    with pytest.raises(NoSpace, match="point `scratch` elsewhere"), scratch_folder(tmp_path / "scratch"):
        raise OSError(28, "No space left on device")


def test_a_folder_that_may_not_be_written_is_told_before_the_night(filled_chroma: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    for path in (store, *store.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    passable(tmp_path)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o777)
    source = source_of(path=store, scratch=tmp_path / "scratch")

    def look() -> tuple[list[str], str]:
        try:
            list(source.capture())
        except BackupError as error:
            return [problem.what for problem in source.check()], str(error)
        return [], ""

    problems, error = Child(as_nobody(look)).result()
    assert ["can't be locked" in what for what in problems] == [True]
    assert "right to write" in error


def test_a_server_that_is_not_there_or_is_no_chroma(tmp_path: Path) -> None:
    away = source_of(url="http://127.0.0.1:9", scratch=tmp_path)
    assert "the Chroma server at `http://127.0.0.1:9` can't be reached" in said(away)
    assert isinstance(refusal(away), Unavailable)
    for status, body, expected, kind in (
        (404, b"nothing", "must be Chroma 1.0 or newer", SourceError),
        (200, b"<html>", "what is no JSON", SourceError),
        (200, b'{"a": 1}', "no Chroma", SourceError),
        (403, b"", "refuses the token", Refused),
        (503, b'{"message": "later,\\nplease"}', "failed (503): later, please", Unavailable),
        (301, b"", "does not take it (301)", Refused),
    ):
        with answering(status, body) as url:
            source = source_of(url=url, scratch=tmp_path)
            assert expected in said(source)
            assert isinstance(refusal(source), kind)


def test_no_address_and_no_error_ever_shows_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://me:s3cret@127.0.0.1:9", "ftp://me:s3cret@host", "http://me:s3cret@[::1", "s3cret"):
        monkeypatch.setenv("CHROMA_URL", url)
        source = source_of(url="env:CHROMA_URL", scratch=tmp_path)
        assert "s3cret" not in said(source) + str(source.check()) + str(refusal(source)) + repr(source.settings)
        cause: BaseException | None = refusal(source)
        while cause:
            assert "s3cret" not in repr(cause)
            cause = cause.__cause__
    monkeypatch.setenv("CHROMA_TOKEN", "s3cret\nsecond")
    source = source_of(url="http://127.0.0.1:9", token="env:CHROMA_TOKEN", scratch=tmp_path)
    assert isinstance(refusal(source), SettingsError)
    assert "s3cret" not in said(source)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "/a", "url": "http://h:1"},
        {"path": "/a", "token": "env:T"},
        {"url": "http://u:p@h:1"},
        {"url": "http://h:1", "token": "plain"},
        {"url": "http://h:1", "tenants": []},
        {"url": "http://h:1", "token_header": "cookie"},
        {"path": "/a", "surprise": 1},
    ],
)
def test_settings_that_contradict_themselves_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source_of(**options)


def test_a_name_for_no_collection_in_particular_is_refused() -> None:
    with pytest.raises(ValidationError, match="say which with `collection`"):
        ChromaTarget.model_validate({"url": "http://h:1", "as": "other"})


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("hacked",)


TABLE = b"\x8c\x0bid_to_label}\x8c\x01aK\x01ss."


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"id_to_label": {"a": 1}, "more": Evil()}),
        pickle.dumps(Evil()),
        pickle.dumps({"id_to_label": ["a"]}),
        pickle.dumps({"id_to_label": {"a": "b"}}),
        pickle.dumps([1]),
        pickle.dumps({"id_to_label": {"a": 1}})[:-3],
        b"",
        b"\x80\x03cchromadb.segment.impl.vector.local_persistent_hnsw\nPersistentData\n.",
        # Whole tables, behind what may take any memory there is, or end the process: a few million more would.
        b"\x80\x04}r\xff\xff\x0f\x00" + TABLE,
        b"\x80\x04}p1048575\n" + TABLE,
        b"\x80\x04}N" + 1000 * b"\x85" + b"K\x01s" + TABLE,
    ],
)
def test_a_pickle_is_read_and_never_obeyed(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "index_metadata.pickle").write_bytes(content)
    with pytest.raises(NotWhole, match=r"index_metadata\.pickle"):
        persisted(tmp_path / "index_metadata.pickle")
    assert not (tmp_path / "hacked").exists()


def test_the_pickle_of_an_older_chroma_is_read_without_its_class(tmp_path: Path) -> None:
    """Before 1.0 it holds an object of a class of Chroma's."""
    path = tmp_path / "index_metadata.pickle"
    path.write_bytes(
        b"\x80\x03cchromadb.segment.impl.vector.local_persistent_hnsw\nPersistentData\n)\x81"
        b"}X\x0b\x00\x00\x00id_to_label}X\x02\x00\x00\x00idK\x07ssb."
    )
    assert dict(persisted(path).labels) == {"id": 7}


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_every_table_of_ids_is_read_and_so_is_what_lies_behind_its_end(protocol: int, tmp_path: Path) -> None:
    labels = {f"{number} \n{chr(number)}" * (number % 7 * 50): number << number % 40 for number in range(1, 3000)}
    held = {"max_seq_id": 1 << 70, "id_to_label": labels, "label_to_id": {value: key for key, value in labels.items()}}
    path = tmp_path / "index_metadata.pickle"
    path.write_bytes(pickle.dumps(held, protocol) + b"p of an older one")
    assert dict(persisted(path).labels) == labels


def test_scratch_of_a_capture_that_was_killed_is_removed_by_the_next(filled_chroma: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"

    def half() -> None:
        capture = iter(source_of(path=filled_chroma, scratch=scratch).capture())
        next(capture)
        os._exit(9)

    with pytest.raises(EOFError):
        Child(half).result()
    [left] = scratch.iterdir()
    with scratch_folder(scratch) as own, scratch_folder(scratch) as other:
        assert not left.exists()
        assert own.exists()
        assert other.exists()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE collections SET name = CAST(name AS BLOB) WHERE rowid = 1",
        "UPDATE collections SET dimension = -5",
        "UPDATE collections SET dimension = 'many'",
        "UPDATE collections SET config_json_str = replace(hex(zeroblob(50000)), '0', '[')",
        "UPDATE segments SET id = CAST(id AS BLOB)",
        "UPDATE embeddings_queue SET topic = CAST(topic AS BLOB)",
        "UPDATE embedding_metadata SET key = CAST(key AS BLOB) WHERE key = 'chroma:document'",
    ],
)
def test_a_value_that_chroma_never_writes_is_told_and_all_the_rest_is_captured(
    change: str, filled_chroma: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    with closing(sqlite3.connect(store / "chroma.sqlite3")) as database:
        assert database.execute(change).rowcount > 0
        database.commit()
    captured = Saved(source_of(path=store, scratch=tmp_path / "scratch").capture())
    assert captured.flaws != []
    assert b"store/chroma.sqlite3" in {item.entry.path for item in captured}

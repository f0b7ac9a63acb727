"""Chroma destroyed and restored: folders and servers, stored by the real engine, into folders and servers."""

from __future__ import annotations

import http.server
import itertools
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import numpy as np
import pytest

from tasks.errors import NotFound, Occupied, Refused, SettingsError, Unavailable
from tasks.item import Facts
from tasks.repository import Repository, Snapshot
from tasks.sources.chroma.records import Record
from tasks.sources.chroma.server import ServerCollection
from tasks.sources.chroma.settings import ChromaSettings, ChromaTarget
from tasks.sources.chroma.unique_keys import KEYS
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.chroma_process import ChromaServer, chroma, chroma_server, seen, writer
from tests.contracts.source_contract import agree
from tests.repositories import about, create, local
from tests.unit.sources.chroma.exported_rows import rows_of


def source_of(scratch: Path, **options: Any) -> Chroma:
    return Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "scratch": scratch, **options}))


def target_of(url: str, **options: Any) -> ChromaTarget:
    return ChromaTarget.model_validate({"url": url, **options})


def saved(source: Chroma, repository: Any, number: int = 0) -> Snapshot:
    snapshot: Snapshot = repository.save(source.capture(), about(number), repository.destination)
    return snapshot


def put(source: Chroma, repository: Repository, snapshot: Snapshot, target: ChromaTarget, **how: Any) -> list[str]:
    items = repository.read(snapshot)
    return source.restore_into(items, items, target, Restoring(**how))


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    return create(local(tmp_path / "repository"))


@pytest.fixture
def original(filled_chroma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled_chroma, tmp_path / "store"))


@pytest.fixture(scope="module")
def truth(filled_chroma: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Chroma itself sees in the original."""
    return seen(Path(shutil.copytree(filled_chroma, tmp_path_factory.mktemp("truth") / "store")))


def alike(found: dict[str, Any], truth: dict[str, Any], *, exact: bool = False) -> None:
    """Every record is bit for bit the same; of a cosine collection that was given to a server, but for last bits."""
    assert found.keys() == truth.keys()
    for name, there in truth.items():
        assert found[name]["metadata"] == there["metadata"]
        assert found[name]["configuration"] == there["configuration"]
        rows, right = found[name]["rows"], there["rows"]
        assert rows.keys() == right.keys()
        near = there["configuration"]["space"] == "cosine" and not exact
        for key, (vector, *rest) in right.items():
            assert rows[key][1:] == rest
            if near:
                here, orig = (np.frombuffer(bytes.fromhex(each), "<f4") for each in (rows[key][0], vector))
                assert np.allclose(here, orig, rtol=0, atol=4 * np.spacing(np.abs(orig).max()))
            else:
                assert rows[key][0] == vector


def test_a_folder_that_was_destroyed_comes_back_as_it_was(
    original: Path, truth: Any, repository: Any, tmp_path: Path
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    assert snapshot.complete
    assert {key.name for key in KEYS} < {*snapshot.facts["indexes"]["made_again_by_restore"]}
    original.rename(tmp_path / "truth")
    items = repository.read(snapshot)
    assert source.restore(items, items, tmp_path / "back", Restoring()) == []
    assert agree(source.examine(tmp_path / "back"), snapshot.facts)
    found = seen(tmp_path / "back" / "store")
    alike(found["dump"], truth["dump"], exact=True)
    assert found["answers"] == truth["answers"]
    assert all(all(by_words) for _, by_words in truth["answers"].values())
    assert list((tmp_path / "scratch").iterdir()) == []
    # Chroma finds whom to change by what a restore made again.
    for store in (tmp_path / "back" / "store", tmp_path / "truth"):
        chroma("change", store)
    alike(seen(tmp_path / "back" / "store")["dump"], seen(tmp_path / "truth")["dump"], exact=True)


def test_a_folder_comes_back_into_a_fresh_server_and_one_of_its_collections_under_another_name(
    original: Path, truth: Any, repository: Any, tmp_path: Path
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    shutil.rmtree(original)
    with chroma_server(tmp_path / "fresh") as server:
        target = target_of(server.url, scratch=tmp_path / "scratch")
        assert put(source, repository, snapshot, target) == []
        alike(seen(server.url)["dump"], truth["dump"])
        assert agree(source.examine_at(target), snapshot.facts)
        renamed = target_of(
            server.url,
            collection="apples",
            tenant="other-tenant",
            database="other",
            scratch=tmp_path / "scratch",
            **{"as": "apples2"},
        )
        assert put(source, repository, snapshot, renamed) == []
        facts = source.examine_at(renamed)
        there = facts["collection other-tenant/other/apples"]
        assert there == snapshot.facts["collection default_tenant/default_database/apples"]
        with pytest.raises(NotFound, match="it has `default_tenant/default_database/apples`"):
            put(source, repository, snapshot, target_of(server.url, collection="none", scratch=tmp_path / "scratch"))


def test_collections_that_were_set_up_in_any_way_come_back_with_their_settings(repository: Any, tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {"metadata": {"hnsw:space": "cosine", "hnsw:M": 8, "hnsw:construction_ef": 50, "weight": 1.0}},
        {"metadata": {"hnsw:space": "ip"}, "configuration": {"hnsw": {"space": "l2", "ef_search": 33}}},
        {"configuration": {"hnsw": {"space": "cosine", "max_neighbors": 5, "sync_threshold": 7}}},
        {"configuration": {"embedding_function": {"type": "known", "name": "default", "config": {}}}},
    ]
    shapes = []
    for number, taking in enumerate(("path", "url")):
        store = tmp_path / f"store{number}"
        with chroma_server(store) as server, chroma_server(tmp_path / f"fresh{number}") as fresh:
            place = "api/v2/tenants/default_tenant/databases/default_database/collections"
            for at, way in enumerate(ways):
                httpx.post(f"{server.url}/{place}", json={"name": f"way{at}", **way}).raise_for_status()
            source = source_of(tmp_path / "scratch", **{taking: store if taking == "path" else server.url})
            snapshot = saved(source, repository, number)
            target = target_of(fresh.url, scratch=tmp_path / "scratch")
            assert put(source, repository, snapshot, target) == []
            assert agree(source.examine_at(target), snapshot.facts)
            for each in (server, fresh):
                found = {one["name"]: one for one in httpx.get(f"{each.url}/{place}").json()}
                shapes.append({name: (one["configuration_json"], one["metadata"]) for name, one in found.items()})
    assert shapes[0] == shapes[1]
    assert shapes[2] == shapes[3]
    assert shapes[0]["way2"][0]["hnsw"]["max_neighbors"] == 5


def test_a_collection_comes_back_into_a_folder_beside_others_of_a_chroma_that_is_not_running(
    original: Path, truth: Any, repository: Any, tmp_path: Path
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    options = {"collection": "pears.and-more", "as": "pears", "scratch": tmp_path / "scratch"}
    target = target_of(f"chroma://{original}", **options)
    assert put(source, repository, snapshot, target) == []
    found = seen(original)["dump"]
    alike({"pears.and-more": found.pop("pears")}, {"pears.and-more": truth["dump"]["pears.and-more"]})
    alike(found, truth["dump"], exact=True)
    with writer(original), pytest.raises(Occupied, match=r"has .* open"):
        put(source, repository, snapshot, target)


def test_a_server_that_was_destroyed_comes_back_into_a_fresh_one(
    original: Path, truth: Any, repository: Any, tmp_path: Path
) -> None:
    with chroma_server(original) as server:
        api = f"{server.url}/api/v2"
        httpx.post(f"{api}/tenants", json={"name": "Süd/west .."}).raise_for_status()
        source = source_of(tmp_path / "scratch", url=server.url, tenants=["default_tenant", "Süd/west .."])
        place = f"{api}/tenants/S%C3%BCd%2Fwest%20../databases"
        httpx.post(place, json={"name": "second"}).raise_for_status()
        made = httpx.post(f"{place}/second/collections", json={"name": "n" * 300}).json()
        body = {"ids": ["one"], "embeddings": [[1, 2, 3]], "documents": [None]}
        httpx.post(f"{place}/second/collections/{made['id']}/add", json=body).raise_for_status()
        snapshot = saved(source, repository)
        again = saved(source, repository, 1)
    assert snapshot.complete
    assert snapshot.facts["changed_while_read"] == {}
    assert again.facts == snapshot.facts
    assert again.figures["new_bytes"] < 2000, "a second night of the same stores nothing"
    shutil.rmtree(original)
    items = repository.read(snapshot)
    assert source.restore(items, items, tmp_path / "files", Restoring()) == []
    assert agree(source.examine(tmp_path / "files"), snapshot.facts)
    with chroma_server(tmp_path / "fresh") as server:
        target = target_of(server.url)
        assert put(source, repository, snapshot, target) == []
        alike(seen(server.url)["dump"], truth["dump"])
        assert agree(source.examine_at(target), snapshot.facts)
        assert "collection Süd/west ../second/" + "n" * 300 in source.examine_at(target)


def test_a_restore_goes_on_where_it_ended_and_never_mixes_unasked(
    original: Path, repository: Any, tmp_path: Path
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    label = "collection default_tenant/default_database/apples"
    with chroma_server(tmp_path / "fresh") as server:
        target = target_of(server.url, collection="apples", scratch=tmp_path / "scratch")
        place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        assert put(source, repository, snapshot, target) == []
        number = httpx.get(f"{place}/apples").json()["id"]
        ids = [f"id-{at:06d}" for at in range(1000, 1900)]
        httpx.post(f"{place}/{number}/delete", json={"ids": ids}).raise_for_status()
        assert put(source, repository, snapshot, target) == [], "a partial copy of the same is completed"
        assert agree(source.examine_at(target), snapshot.facts)
        foreign = {"ids": ["mine"], "embeddings": [[0.5] * 8], "documents": ["written since"]}
        httpx.post(f"{place}/{number}/add", json=foreign).raise_for_status()
        httpx.post(
            f"{place}/{number}/update", json={"ids": ["id-000010"], "embeddings": [[9] * 8], "metadatas": [{"x": 1}]}
        ).raise_for_status()
        before = source.examine_at(target)
        with pytest.raises(Occupied, match="1 other records and 1 of the same ids that differ"):
            put(source, repository, snapshot, target)
        assert source.examine_at(target) == before, "a refusal changes nothing"
        mixed = target_of(server.url, collection="apples", mix=True, scratch=tmp_path / "scratch")
        assert put(source, repository, snapshot, mixed) == []
        assert source.examine_at(target)[label]["records"] == snapshot.facts[label]["records"] + 1
        assert put(source, repository, snapshot, target, overwrite=True) == []
        assert agree(source.examine_at(target), snapshot.facts)
        httpx.delete(f"{place}/apples").raise_for_status()
        httpx.post(place, json={"name": "apples", "configuration": {"hnsw": {"space": "ip"}}}).raise_for_status()
        with pytest.raises(Occupied, match="the distance ip instead of 8 dimensions and the distance l2"):
            put(source, repository, snapshot, target)
        assert put(source, repository, snapshot, target, overwrite=True) == []
        assert agree(source.examine_at(target), snapshot.facts)


def test_a_restore_whose_server_is_killed_says_that_it_goes_on_and_does(
    original: Path, truth: Any, repository: Any, tmp_path: Path
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    with chroma_server(tmp_path / "fresh") as server:
        target, add = target_of(server.url, scratch=tmp_path / "scratch"), ServerCollection.add

        def add_and_kill(self: ServerCollection, *given: Any, **how: Any) -> None:
            add(self, *given, **how)
            server.kill()

        with (
            mock.patch.object(ServerCollection, "add", add_and_kill),
            pytest.raises(Unavailable, match=r"is it running\? Restore again: it goes on where it ended"),
        ):
            put(source, repository, snapshot, target)
        server.start()
        assert put(source, repository, snapshot, target) == []
        alike(seen(server.url)["dump"], truth["dump"])


@contextmanager
def meddled(meddle: Callable[[int, ServerCollection], None]) -> Iterator[None]:
    """Calls `meddle` with a number and the collection after each request for records."""
    fetch, calls = ServerCollection.fetch, itertools.count(1)

    def fetch_and_meddle(self: ServerCollection, ids: Sequence[str]) -> list[tuple[Record, bytes]]:
        found = fetch(self, ids)
        meddle(next(calls), self)
        return found

    with mock.patch.object(ServerCollection, "fetch", fetch_and_meddle):
        yield


def test_what_changes_during_an_export_is_noticed_told_and_fetched_again(
    original: Path, repository: Any, tmp_path: Path
) -> None:
    label = "default_tenant/default_database/apples"
    with chroma_server(original) as server:
        source = source_of(tmp_path / "scratch", url=server.url)
        place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"

        def change(call: int, collection: ServerCollection) -> None:
            """Once, between the first pass and the second: one record goes, one comes, one is another."""
            if call == 3:
                verbs = {
                    "delete": {"ids": ["id-000004"]},
                    "add": {"ids": ["id-new"], "embeddings": [[1.5] * 8], "documents": ["new"]},
                    "update": {"ids": ["id-000010"], "embeddings": [[2.5] * 8], "metadatas": [{"number": 1.5}]},
                }
                for verb, body in verbs.items():
                    httpx.post(f"{place}/{collection.number}/{verb}", json=body).raise_for_status()
                httpx.post(place, json={"name": "zebras"}).raise_for_status()
                empty = next(each for each in httpx.get(place).json() if each["name"] == "empty")
                httpx.delete(f"{place}/{empty['name']}").raise_for_status()

        with meddled(change):
            snapshot = saved(source, repository)
        assert snapshot.complete
        assert snapshot.facts["changed_while_read"] == {label: 3}
        assert snapshot.facts["gone_while_read"] == []
        assert snapshot.facts["collections"] == sorted(snapshot.facts["collections"])
        assert "default_tenant/default_database/empty" not in snapshot.facts["collections"]
        assert snapshot.facts["appeared_while_read"] == ["default_tenant/default_database/zebras"]
        again = saved(source, repository, 1)
        assert again.facts[f"collection {label}"] == snapshot.facts[f"collection {label}"]
    items = repository.read(snapshot)
    source.restore(items, items, tmp_path / "files", Restoring())
    rows = {record.id: (record, vector.tolist()) for record, vector in rows_of(tmp_path / "files", "apples")}
    assert "id-000004" not in rows
    assert rows["id-new"][0].document == "new"
    assert rows["id-000010"][1] == [2.5] * 8


def test_records_that_never_come_the_same_twice_make_a_snapshot_incomplete(
    original: Path, repository: Any, tmp_path: Path
) -> None:
    with chroma_server(original) as server:
        source = source_of(tmp_path / "scratch", url=server.url)
        place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"

        def change(call: int, collection: ServerCollection) -> None:
            if collection.about.name == "plums":
                body = {"ids": ["id-000005"], "embeddings": [[call] * 3]}
                httpx.post(f"{place}/{collection.number}/update", json=body).raise_for_status()

        with meddled(change):
            snapshot = saved(source, repository)
    assert not snapshot.complete
    [flaw] = snapshot.flaws
    assert flaw.what == "partial"
    assert "1 records of the collection `default_tenant/default_database/plums` were never the same twice" in flaw.why


def test_a_server_that_is_killed_in_the_middle_is_unavailable_and_no_snapshot_is_listed(
    original: Path, repository: Any, tmp_path: Path
) -> None:
    with chroma_server(original) as server:
        source = source_of(tmp_path / "scratch", url=server.url)
        with pytest.raises(Unavailable, match="can't be reached") as raised:
            repository.save(_Killing(source, server), about(0), repository.destination)
        assert "\n" not in str(raised.value)
        assert repository.readable_snapshots() == []
        assert list((tmp_path / "scratch").iterdir()) == []
        server.start()
        assert saved(source, repository, 1).complete


class _Killing:
    """A capture whose server is killed when the first columns are stored."""

    def __init__(self, source: Chroma, server: ChromaServer) -> None:
        self._capture, self._server = source.capture(), server

    def __iter__(self) -> Iterator[Any]:
        for item in self._capture:
            yield item
            if item.entry.path.endswith(b"vectors.f32"):
                self._server.kill()

    def stored(self, item: Any) -> None:
        self._capture.stored(item)

    def flaws(self) -> list[Any]:
        return list(self._capture.flaws())

    def facts(self) -> Facts:
        return self._capture.facts()


TOKEN = "correct-horse-battery"


@contextmanager
def guarded(server: ChromaServer) -> Iterator[str]:
    """The URL of a proxy in front of a server that wants a token, as operators put there."""

    class Guard(http.server.BaseHTTPRequestHandler):
        def _pass(self) -> None:
            if TOKEN not in (self.headers.get("x-chroma-token"), (self.headers.get("authorization") or "")[7:]):
                self.send_error(401)
                return
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = urllib.request.Request(  # noqa: S310 - loopback
                server.url + self.path, body or None, {"content-type": "application/json"}, method=self.command
            )
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                content = answer.read()
                self.send_response(answer.status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = _pass  # noqa: N815 - the names that the standard library looks for

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()


def test_a_token_is_sent_and_never_shown_and_a_wrong_one_is_one_clear_line(
    original: Path, repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMA_TOKEN", TOKEN)
    monkeypatch.setenv("CHROMA_WRONG", "not-it")
    with chroma_server(original) as server, guarded(server) as url:
        other = source_of(tmp_path / "scratch", url=url, token="env:CHROMA_TOKEN", token_header="x-chroma-token")
        assert other.check() == []
        source = source_of(tmp_path / "scratch", url=url, token="env:CHROMA_TOKEN")
        assert source.check() == []
        snapshot = saved(source, repository)
        assert snapshot.complete
        assert TOKEN not in repr(source.settings) + repr(snapshot)
        wrong = source_of(tmp_path / "scratch", url=url, token="env:CHROMA_WRONG")
        [problem] = wrong.check()
        assert "refuses the token" in problem.what
        with pytest.raises(Refused, match="refuses the token") as raised:
            list(wrong.capture())
        assert "not-it" not in str(raised.value)
        unset = source_of(tmp_path / "scratch", url=url, token="env:CHROMA_UNSET")
        with pytest.raises(SettingsError, match="`CHROMA_UNSET` is not set"):
            list(unset.capture())
        assert "CHROMA_UNSET" in unset.check()[0].what

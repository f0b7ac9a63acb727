"""Chroma in parts, damaged or changed meanwhile: what is odd about one collection costs the others nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from tasks.errors import Damaged, Occupied, Refused
from tasks.item import Facts, ForgivingSink, Sink, Stored, StoredItems, Stream
from tasks.sources.chroma.server import NotTaken, ServerCollection
from tasks.sources.source import Restoring
from tests.chroma_process import chroma_server
from tests.contracts.source_contract import agree
from tests.flows.test_chroma import (  # noqa: F401 - fixtures
    meddled,
    original,
    put,
    repository,
    saved,
    source_of,
    target_of,
)
from tests.unit.sources.chroma.exported_rows import rows_of


def test_the_database_alone_brings_the_vectors_that_lie_beside_it(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    items = repository.read(snapshot)
    chosen = [item for item in items if item.entry.path.endswith(b"/chroma.sqlite3")]
    with chroma_server(tmp_path / "server") as server:
        target = target_of(server.url, scratch=tmp_path / "scratch")
        assert source.restore_into(items, chosen, target, Restoring()) == []
        assert agree(source.examine_at(target), snapshot.facts)


def test_a_collection_that_was_damaged_already_costs_the_others_nothing(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    with closing(sqlite3.connect(original / "chroma.sqlite3")) as database:
        query = "SELECT s.id FROM segments s JOIN collections c ON c.id = s.collection WHERE c.name = ? AND scope = ?"
        [segment] = database.execute(query, ("apples", "VECTOR")).fetchone()
    os.truncate(original / segment / "data_level0.bin", 1000)
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    assert not snapshot.complete
    with chroma_server(tmp_path / "server") as server:
        target = target_of(server.url, scratch=tmp_path / "scratch")
        with pytest.raises(
            Damaged, match=r"all else was restored, but the snapshot does not hold all of `.*/apples`: "
        ):
            put(source, repository, snapshot, target)
        found = source.examine_at(target)
    for name in ("empty", "pears.and-more", "plums"):
        label = f"collection default_tenant/default_database/{name}"
        assert found[label] == snapshot.facts[label]


class Rotten:
    """Items of which those whose path ends so are damaged."""

    def __init__(self, items: StoredItems, *ends: bytes) -> None:
        self._items, self._ends = items, ends

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._items)

    def open(self, item: Stored) -> Stream:
        if item.entry.path.endswith(self._ends):
            raise Damaged("a block is rotten")
        return self._items.open(item)

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        chosen = list(items)
        for item in chosen:
            if item.entry.path.endswith(self._ends):
                assert isinstance(into, ForgivingSink)
                into.lost(item, Damaged("a block is rotten"))
        self._items.extract([item for item in chosen if not item.entry.path.endswith(self._ends)], into)


@pytest.mark.parametrize("lost", [b"data_level0.bin", b"index_metadata.pickle"])
def test_what_is_damaged_of_one_collection_of_a_folder_costs_the_others_nothing(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
    lost: bytes,
) -> None:
    with closing(sqlite3.connect(original / "chroma.sqlite3")) as database:
        query = "SELECT s.id FROM segments s JOIN collections c ON c.id = s.collection WHERE c.name = ? AND scope = ?"
        [segment] = database.execute(query, ("apples", "VECTOR")).fetchone()
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    items = Rotten(repository.read(snapshot), segment.encode() + b"/" + lost)
    with chroma_server(tmp_path / "server") as server:
        target = target_of(server.url, scratch=tmp_path / "scratch")
        with pytest.raises(
            Damaged, match=r"the snapshot does not hold all of `default_tenant/default_database/apples`: .*rotten"
        ):
            source.restore_into(items, items, target, Restoring())
        assert_all_but_apples(source.examine_at(target), snapshot.facts)


@pytest.mark.parametrize("lost", [b"apples/collection.json", b"apples/vectors.f32", b"apples/ids.jsonl"])
def test_what_is_damaged_of_one_exported_collection_costs_the_others_nothing(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
    lost: bytes,
) -> None:
    with chroma_server(original) as server:
        source = source_of(tmp_path / "scratch", url=server.url)
        snapshot = saved(source, repository)
    items = Rotten(repository.read(snapshot), lost)
    assert any(item.entry.path.endswith(lost) for item in items)
    with chroma_server(tmp_path / "server") as server:
        target = target_of(server.url, scratch=tmp_path / "scratch")
        with pytest.raises(
            Damaged, match=r"the snapshot does not hold all of `default_tenant/default_database/apples`: .*rotten"
        ):
            source.restore_into(items, items, target, Restoring())
        assert_all_but_apples(source.examine_at(target), snapshot.facts)


def assert_all_but_apples(found: Facts, facts: Facts) -> None:
    label = "collection default_tenant/default_database/"
    others = {name for name in facts if name.startswith("collection ")} - {label + "apples"}
    assert label + "pears.and-more" in others
    assert {name: found[name] for name in others} == {name: facts[name] for name in others}


def test_a_collection_that_is_put_in_the_place_of_another_during_an_export_is_kept_by_the_name_it_had(
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """As an index is that was built anew: the old one is deleted, and the new one gets its name."""
    with chroma_server(tmp_path / "store") as server:
        place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        numbers = {name: httpx.post(place, json={"name": name}).json()["id"] for name in ("first", "live", "live-new")}
        for name, number in numbers.items():
            body = {"ids": [name], "embeddings": [[1.0, 2.0]], "documents": [name]}
            httpx.post(f"{place}/{number}/add", json=body).raise_for_status()

        def change(call: int, _: ServerCollection) -> None:
            if call == 1:
                httpx.delete(f"{place}/live").raise_for_status()
                httpx.put(f"{place}/{numbers['live-new']}", json={"new_name": "live"}).raise_for_status()

        source = source_of(tmp_path / "scratch", url=server.url)
        with meddled(change):
            snapshot = saved(source, repository)
    label = "default_tenant/default_database"
    assert snapshot.facts["collections"] == [f"{label}/first", f"{label}/live-new"]
    assert snapshot.facts["appeared_while_read"] == [f"{label}/live"]
    assert snapshot.facts["gone_while_read"] == [f"{label}/live-new"]
    items = repository.read(snapshot)
    source.restore(items, items, tmp_path / "files", Restoring())
    [(record, _)] = rows_of(tmp_path / "files", "live-new")
    assert record.document == "live-new"


def test_a_collection_that_an_application_made_first_with_other_settings_is_told_of(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Empty, and so nothing is in the way; but its index is not built as the one that was captured."""
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    with chroma_server(tmp_path / "server") as server:
        target = target_of(server.url, collection="apples", scratch=tmp_path / "scratch")
        place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        made = {"name": "apples", "configuration": {"hnsw": {"space": "l2", "ef_construction": 11}}}
        made |= {"metadata": {"owner": "geometra", "revision": 3, "weight": 0.5, "live": True}}
        httpx.post(place, json=made).raise_for_status()
        (line,) = put(source, repository, snapshot, target)
        assert "/apples` was there, with ef_construction 11 instead of 60" in line
        httpx.delete(f"{place}/apples").raise_for_status()
        assert put(source, repository, snapshot, target) == []
        assert put(source, repository, snapshot, target) == []


PLACE = "api/v2/tenants/default_tenant/databases/default_database/collections"
LABEL = "default_tenant/default_database"


def changed(store: Path, *statements: str) -> None:
    with closing(sqlite3.connect(store / "chroma.sqlite3")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount


def test_what_an_older_chroma_took_and_a_server_does_not_is_named_and_all_else_comes_back(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    changed(
        original,
        "UPDATE embeddings_queue SET vector = x'0000c07f0000c07f0000c07f' WHERE id = 'id-000004' AND topic LIKE"
        " '%' || (SELECT id FROM collections WHERE name = 'plums')",
        "UPDATE embedding_metadata SET float_value = NULL WHERE key = 'real'",
        "INSERT INTO databases SELECT '7', 'x y', tenant_id FROM databases WHERE name = 'default_database'",
        "UPDATE collections SET database_id = '7' WHERE name = 'apples'",
    )
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    assert snapshot.complete
    with chroma_server(tmp_path / "server") as server:
        place = f"{server.url}/{PLACE}"
        for _ in range(2):
            plums = target_of(server.url, collection="plums", scratch=tmp_path / "scratch")
            [without, refused] = put(source, repository, snapshot, plums)
            assert f"records of `{LABEL}/plums` without what is no finite number in their metadata" in without
            assert refused.startswith(f"the record `id-000004` of `{LABEL}/plums`: ")
            with pytest.raises(
                Refused, match=r"all else was restored, but not `default_tenant/x y/apples`: .*`database`"
            ):
                put(source, repository, snapshot, target_of(server.url, scratch=tmp_path / "scratch"))
        found = {each["name"]: each["id"] for each in httpx.get(place).json()}
        counts = {name: httpx.get(f"{place}/{number}/count").json() for name, number in found.items()}
    records_of = {name: snapshot.facts[f"collection {LABEL}/{name}"]["records"] for name in counts}
    assert counts == records_of | {"plums": records_of["plums"] - 1}
    assert {"plums", "pears.and-more"} < counts.keys()


def test_a_server_that_takes_none_of_a_collection_is_not_asked_for_each_of_its_records(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    asked: list[int] = []

    def refuse(_: ServerCollection, batch: Any, **__: Any) -> None:
        asked.append(len(batch.records))
        raise NotTaken("the server does not take it (400): no")

    with chroma_server(tmp_path / "server") as server, mock.patch.object(ServerCollection, "add", refuse):
        target = target_of(server.url, collection="apples", scratch=tmp_path / "scratch")
        with pytest.raises(Refused, match=r"all else was restored, but not .*apples`: the server does not take it"):
            put(source, repository, snapshot, target)
    assert len(asked) < 300


def test_a_restore_goes_on_though_the_server_missed_the_last_bits_of_real_numbers(
    original: Path,  # noqa: F811
    repository: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Which 0.4 to 0.6 kept exactly, and Chroma 1 does not."""
    changed(original, "UPDATE embedding_metadata SET float_value = 90.33333333333333 WHERE key = 'real'")
    source = source_of(tmp_path / "scratch", path=original)
    snapshot = saved(source, repository)
    with chroma_server(tmp_path / "server") as server:
        target = target_of(server.url, collection="apples", scratch=tmp_path / "scratch")
        assert put(source, repository, snapshot, target) == []
        place = f"{server.url}/{PLACE}"
        number = next(each["id"] for each in httpx.get(place).json() if each["name"] == "apples")
        assert put(source, repository, snapshot, target) == []
        body = {"ids": ["id-000010"], "metadatas": [{"real": 90.3333}]}
        httpx.post(f"{place}/{number}/update", json=body).raise_for_status()
        with pytest.raises(Occupied, match="0 other records and 1 of the same ids that differ"):
            put(source, repository, snapshot, target)


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("vector", [[3e38, 1e38], [2e19, 2e19], [0.0, 0.0]])
def test_a_vector_whose_distances_are_beyond_all_numbers_ends_no_export(
    repository: Any,  # noqa: F811
    tmp_path: Path,
    space: str,
    vector: list[float],
) -> None:
    with chroma_server(tmp_path / "store") as server:
        made = {"name": "texts", "configuration": {"hnsw": {"space": space}}}
        number = httpx.post(f"{server.url}/{PLACE}", json=made).json()["id"]
        body = {"ids": ["a", "b", "z"], "embeddings": [[1.0, 1.0], [1.0, 2.0], vector], "documents": ["a", "b", "z"]}
        httpx.post(f"{server.url}/{PLACE}/{number}/add", json=body).raise_for_status()
        snapshot = saved(source_of(tmp_path / "scratch", url=server.url), repository)
    assert snapshot.complete
    assert snapshot.facts[f"answers {LABEL}/texts"] == 3

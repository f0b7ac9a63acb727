"""Drills that meet an odd server: other settings, many databases, keys that expire, a version that is too old."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.errors import Refused, SettingsError
from tasks.installation import unconfigured
from tasks.item import Facts
from tasks.scratch import scratch_folder, usual
from tasks.sources.chroma.server_facts import server_facts
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chromadb import Chroma
from tasks.sources.kept_server import bare
from tasks.sources.redis import Redis, RedisSettings
from tasks.sources.source import Rehearsable, Rehearsal
from tests.chroma_process import ChromaServer, chroma_server
from tests.contracts.memory_items import MemoryItems, Saved
from tests.contracts.source_contract import agree
from tests.contracts.test_served_source_contract import valkey
from tests.redis_process import RedisProcess, redis_process
from tests.redis_sample import fill


@pytest.fixture
def odd(require: Callable[[str], str]) -> Iterator[RedisProcess]:
    """Keeps small hashes as others keep large ones, and has more databases than others."""
    options = ("--hash-max-listpack-entries", "2", "--zset-max-listpack-entries", "2", "--databases", "40")
    with redis_process("--appendonly", "no", *options, program=Path(require("redis-server"))) as server:
        yield server


def source_of(server: RedisProcess) -> Redis:
    return Redis("odd", RedisSettings.model_validate({"kind": "redis", "url": f"unix://{server.socket}"}))


def rehearsed(source: Redis | Chroma, saved: Saved) -> Rehearsal:
    with scratch_folder(usual()) as scratch:
        found = source.rehearse(saved, saved.facts, scratch)
        assert all(agree(look, saved.facts) for look in found.looks)
    return found


def test_a_redis_of_other_settings_and_with_keys_that_are_gone_by_then(odd: RedisProcess) -> None:
    with closing(odd.client(text=False)) as client:
        fill(client, 20)
    with closing(odd.client(33)) as client:
        client.hset("small", mapping={f"field {at}": at for at in range(9)})
        client.set("short", "lived", px=400)
        client.set("longer", "lived", ex=90 * 86400)
    saved = Saved(source_of(odd).capture())
    assert saved.facts["lasting"]["33"] == {"hash": 1}
    time.sleep(0.5)
    found = rehearsed(source_of(odd), saved)
    assert found.missed == []
    assert [sorted(look) for look in found.looks][1] == ["functions", "lasting"]
    assert "lasting_digest" in found.looks[0]


def test_a_hash_all_of_whose_fields_have_expired_by_then_is_not_missed() -> None:
    with redis_process("--appendonly", "no", program=valkey()) as server, closing(server.client()) as client:
        for name, lives in (("all", 300), ("some", 300), ("later", 90 * 86_400_000)):
            client.hset(name, mapping={"a": "1", "b": "2"})
            client.hpexpire(name, lives, "a", *(("b",) if name != "some" else ()))
        client.set("here", "still")
        saved = Saved(source_of(server).capture())
        assert saved.facts["lasting"] == {"0": {"string": 1, "hash": 3}}
        time.sleep(0.4)
        assert rehearsed(source_of(server), saved).missed == []
        fewer = {**saved.facts, "lasting": {"0": {"string": 1, "hash": 4}}}
        with scratch_folder(usual()) as scratch:
            assert not all(agree(look, fewer) for look in source_of(server).rehearse(saved, fewer, scratch).looks)


def test_a_redis_that_the_scratch_server_does_not_take_is_told_in_its_own_words(odd: RedisProcess) -> None:
    with closing(odd.client()) as client:
        client.set("a", "b")
    saved = Saved(source_of(odd).capture())
    (item,) = [each for each in saved if each.entry.path == b"dump.rdb"]
    newer = item._replace(content=item.content.replace(b"REDIS00", b"REDIS99", 1))
    items = MemoryItems([newer, *(each for each in saved if each is not item)])
    with scratch_folder(usual()) as scratch, pytest.raises(Refused, match=r"does not start: .*RDB format version 99"):
        source_of(odd).rehearse(items, {"not_counted": "the RDB holds something new"}, scratch)


def test_what_was_not_counted_is_loaded_and_that_is_said(odd: RedisProcess) -> None:
    with closing(odd.client()) as client:
        client.set("a", "b")
    saved = Saved(source_of(odd).capture())
    with scratch_folder(usual()) as scratch:
        found = source_of(odd).rehearse(saved, {"not_counted": "the RDB holds something new"}, scratch)
    assert found.looks == ()
    assert found.missed == ["it was only loaded, and not counted: the RDB holds something new"]


def test_a_chroma_server_comes_back_into_one_of_the_drill(filled_chroma: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    with chroma_server(folder) as server:
        source = Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "url": server.url}))
        saved = Saved(source.capture())
    found = rehearsed(source, saved)
    assert found.missed == []
    assert len(found.looks) == 1
    assert any(name.startswith("collection ") for name in found.looks[0])


def test_a_chroma_folder_is_looked_at_and_then_asked(filled_chroma: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    source = Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "path": folder}))
    found = rehearsed(source, Saved(source.capture()))
    assert found.missed == []
    assert len(found.looks) == 2
    assert all(any(name.startswith("collection ") for name in look) for look in found.looks)


USUAL = "tenants/default_tenant/databases/default_database"


def told(server: ChromaServer, where: str, **what: object) -> Any:
    return httpx.post(f"{server.url}/api/v2/{where}", json=what).raise_for_status().json()


def chroma_of(**where: object) -> Chroma:
    return Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", **where}))


def test_a_chroma_is_put_back_as_its_snapshot_says_and_not_as_settings_do_by_now(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with chroma_server(folder) as server:
        told(server, "tenants", name="other")
        told(server, "tenants/other/databases", name="spare")
        for place in (USUAL, "tenants/other/databases/spare"):
            made = told(server, f"{place}/collections", name="made")["id"]
            told(server, f"{place}/collections/{made}/add", ids=["1"], embeddings=[[1.0, 2.0]])
        export = Saved(chroma_of(url=server.url, tenants=["default_tenant", "other"]).capture())
    copy = Saved(chroma_of(path=folder).capture())
    assert copy.facts["records"] == export.facts["records"] == 2
    for now in (chroma_of(path=folder), chroma_of(path=tmp_path / "moved"), chroma_of(url="http://127.0.0.1:1")):
        assert [look["records"] for look in rehearsed(now, copy).looks] == [2, 2]
        assert [look["records"] for look in rehearsed(now, export).looks] == [2]


def test_an_index_that_answers_less_by_chance_is_tried_again(
    filled_chroma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    source = chroma_of(path=folder)
    saved = Saved(source.capture())
    asked: list[Facts] = []

    def poor(*given: Any) -> Facts:
        facts = server_facts(*given)
        asked.append(facts)
        less = {name: 0 for name in facts if name.startswith("answers ")}
        return facts | less if len(asked) < 3 or always else facts

    monkeypatch.setattr("tasks.sources.chromadb.server_facts", poor)
    always = False
    assert rehearsed(source, saved).missed == []
    assert len(asked) == 3
    always = True
    with scratch_folder(usual()) as scratch:
        assert not all(agree(look, saved.facts) for look in source.rehearse(saved, saved.facts, scratch).looks)


def test_a_proxy_is_not_asked_for_a_chroma_of_this_host(
    filled_chroma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(filled_chroma, tmp_path / "store"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr("tasks.sources.chroma.served_folder._START_SECONDS", 15)
    assert rehearsed(chroma_of(path=folder), Saved(chroma_of(path=folder).capture())).missed == []


def test_no_secret_is_in_the_environment_of_a_scratch_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHROMA_TOKEN", "PGPASSWORD", "BACKUP_PASSPHRASE"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in bare().values()


def test_a_chroma_server_without_a_collection(tmp_path: Path) -> None:
    with chroma_server(tmp_path / "store") as server:
        source = chroma_of(url=server.url)
        saved = Saved(source.capture())
    assert rehearsed(source, saved).looks == ({"collections": [], "records": 0},)


def test_real_numbers_that_chroma_misses_by_a_bit_are_alike_and_nothing_else_is(tmp_path: Path) -> None:
    dice = random.Random(5)
    with chroma_server(tmp_path / "store") as server:
        made = told(server, f"{USUAL}/collections", name="real")["id"]
        real = [{"real": dice.random() * 10.0 ** dice.randint(-300, 300)} for _ in range(200)]
        ids, vectors = [str(at) for at in range(200)], [[float(at)] for at in range(200)]
        told(server, f"{USUAL}/collections/{made}/add", ids=ids, embeddings=vectors, metadatas=real)
        source = chroma_of(url=server.url)
        saved = Saved(source.capture())
    found = rehearsed(source, saved)
    (name,) = [name for name in found.looks[0] if name.startswith("collection ")]
    facts = {**saved.facts, name: {**saved.facts[name], "content_digest": "another"}}
    with scratch_folder(usual()) as scratch:
        (look,) = source.rehearse(saved, facts, scratch).looks
    assert look[name] != facts[name]


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tasks.sources.postgresql.scratch_server.installed", lambda: iter(()))
    monkeypatch.setattr("tasks.sources.redis_store.program.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("tasks.sources.chroma.served_folder.sys.executable", str(tmp_path / "python"))
    for kind, package in (("redis", "redis-server"), ("postgres", "postgresql"), ("chroma", "chromadb")):
        made = unconfigured("x", kind)
        assert isinstance(made, Rehearsable)
        with pytest.raises(SettingsError, match=rf"a drill of .*install .*{package}"):
            made.rehearsing()


def test_a_folder_whose_path_is_too_long_for_a_socket_is_told(odd: RedisProcess, tmp_path: Path) -> None:
    saved = Saved(source_of(odd).capture())
    deep = tmp_path / ("d" * 100)
    with scratch_folder(deep) as scratch, pytest.raises(SettingsError, match="too long for a server's socket: let"):
        source_of(odd).rehearse(saved, saved.facts, scratch)

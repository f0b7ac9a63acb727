"""What `init` finds, and that the backup.toml it writes loads, says everything and backs nothing of its own up."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tasks.configuration import parse, problems, reference, render, schema
from tasks.configuration.kinds import destination_kinds, source_kinds
from tasks.configuration.reference import options
from tasks.discovery import Found, Recognised, Service, discover
from tasks.settings import Keep, KeysSettings, Model, PlanSettings, Settings
from tasks.sources.filetree import FileTreeSettings, NamedPath
from workers.private_broker import find_server

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def make(folder: Path, *files: str, size: int = 1) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x" * size)


def look(folder: Path) -> dict[str, list[str]]:
    """What is found in a folder alone: kind -> paths relative to it; repositories joined."""
    found: dict[str, list[str]] = {}
    for one in discover(folder, usual=(), services={}).recognised:
        found.setdefault(one.kind, []).extend(str(path.relative_to(folder)) for path in one.paths)
    return found


@pytest.fixture
def geometra(tmp_path: Path) -> Path:
    """A folder such as Geometra's: everything a night of files backs up."""
    folder = tmp_path / "geometra"
    make(folder, "config/app.toml", "services/api/config/api.yaml", ".env", "docker-compose.yml")
    make(folder, "logs/api.log", "logs/api.log.1.gz", "models/embed/model.safetensors", "models/embed/config.json")
    make(folder, "docs/index.md", "tests/data/case.json", "code/api/main.py")
    subprocess.run(["git", "init", "--quiet", folder / "code"], check=True)
    return folder


def test_a_folder_such_as_geometras_is_recognised(geometra: Path) -> None:
    assert look(geometra) == {
        "source_code": ["code"],
        "config": [".env", "config", "docker-compose.yml", "services/api/config"],
        "logs": ["logs"],
        "models": ["models"],
        "docs": ["docs"],
        "test_data": ["tests/data"],
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["app/models/user.py", "app/config/__init__.py"], {}),
        (["run/best.onnx", "run/last.onnx"], {"models": ["run"]}),
        (["app/detect.onnx", "app/main.py"], {"models": ["app/detect.onnx"]}),
        (["a.gguf", "b.txt"], {"models": ["a.gguf"]}),
        (["models/a/b/c.pt"], {"models": ["models"]}),
        (["vector.bin", "sub/vector.bin"], {}),
        (["var/api.log", "var/api.log.1"], {"logs": ["var"]}),
        (["node_modules/x/config/a.json", ".cache/logs/a.log", "venv/docs/a.md"], {}),
        (["a/b/c/d/e/logs/a.log"], {}),
        (["docs/config/a.toml"], {"docs": ["docs"]}),
        (["backups/logs/x.log", "keys/config/a.toml"], {}),
        (["backup.toml", "pyproject.toml"], {}),
        (["Logs/a.log", "Docs/a.md"], {"logs": ["Logs"], "docs": ["Docs"]}),
        (["repo.git/HEAD", "repo.git/objects/x", "repo.git/refs/x"], {"source_code": ["repo.git"]}),
    ],
)
def test_what_is_recognised_and_what_is_not(tmp_path: Path, files: list[str], expected: dict[str, list[str]]) -> None:
    make(tmp_path, *files)
    assert look(tmp_path) == expected


def test_a_big_file_of_no_clear_kind_is_taken_for_a_model(tmp_path: Path) -> None:
    make(tmp_path, "run/weights.bin", size=10_000_000)
    assert look(tmp_path) == {"models": ["run"]}


def test_looking_follows_no_link_and_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    make(tmp_path / "outside", "logs/a.log")
    here = tmp_path / "here"
    here.mkdir()
    (here / "link").symlink_to(tmp_path / "outside")
    (here / "loop").symlink_to(here)
    (here / "logs").symlink_to(tmp_path / "outside" / "logs")
    os.mkdir(os.fsencode(here) + b"/\xff\xfe")
    make(here, "closed/logs/a.log")
    (here / "closed").chmod(0)
    try:
        found = look(here)
    finally:
        (here / "closed").chmod(0o700)
    assert found == ({"logs": ["closed/logs"]} if os.geteuid() == 0 else {})


def test_a_look_that_would_take_too_long_ends_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.discovery._ENTRIES", 5)
    make(tmp_path, *(f"{name}/x" for name in "abcdefgh"), "logs/a.log")
    found = discover(tmp_path, usual=(), services={})
    assert found.cut_short
    assert "add what is missing" in render(found, now=NOW)


def test_the_usual_places_are_looked_at_too(tmp_path: Path) -> None:
    make(tmp_path, "etc/geometra/a.conf", "etc/geometra-backup/backup.toml", "etc/other/b.conf")
    make(tmp_path, "log/geometra/api.log", "srv/geometra-ai/models/a.gguf", "srv/x/models/b.gguf", "here/docs/a.md")
    usual = ((tmp_path / "etc", "config"), (tmp_path / "log", "logs"), (tmp_path / "srv", ""), (tmp_path / "none", ""))
    assert discover(tmp_path / "here", usual=usual, services={}).recognised == (
        Recognised("config", (tmp_path / "etc/geometra",)),
        Recognised("logs", (tmp_path / "log/geometra",)),
        Recognised("models", (tmp_path / "srv/geometra-ai/models",)),
        Recognised("docs", (tmp_path / "here/docs",)),
    )


def test_the_current_folder_is_not_found_a_second_time_among_the_usual_places(tmp_path: Path) -> None:
    make(tmp_path, "srv/geometra/models/a.gguf")
    found = discover(tmp_path / "srv/geometra", usual=((tmp_path / "srv", ""),), services={})
    assert found.recognised == (Recognised("models", (tmp_path / "srv/geometra/models",)),)


# --- services


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server on loopback that says one thing to whoever connects."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def services(**ports: int) -> tuple[Service, ...]:
    return discover(Path("/nonexistent"), usual=(), services=ports).services


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_running_redis_is_found(tmp_path: Path) -> None:
    port = free_port()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    server = subprocess.Popen([*command, "--requirepass", "made-up"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (found := services(redis=port)):
            assert time.monotonic() < deadline, "not found"
            assert server.poll() is None
        assert found == (Service("redis", f"127.0.0.1:{port}"),)
        assert services(postgres=port) == ()
        assert services(chroma=port) == ()
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("kind", "answer", "is_one"),
    [
        ("postgres", b"N", True),
        ("postgres", b"S", True),
        ("postgres", b"SSH-2.0-OpenSSH_9.2\r\n", False),
        ("postgres", b"", False),
        ("chroma", b'HTTP/1.1 200 OK\r\n\r\n{"nanosecond heartbeat":1}', True),
        ("chroma", b"HTTP/1.1 200 OK\r\n\r\nSimpleHTTP", False),
        ("redis", b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
    ],
)
def test_only_what_answers_as_the_service_does_is_taken_for_it(kind: str, answer: bytes, is_one: bool) -> None:
    with answering(answer) as port:
        assert bool(services(**{kind: port})) is is_one


def test_a_port_that_is_closed_or_says_nothing_holds_nobody_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        start = time.monotonic()
        assert services(redis=silent.getsockname()[1], postgres=free_port(), chroma=silent.getsockname()[1]) == ()
        assert time.monotonic() - start < 2


# --- the backup.toml written from it


def loaded(found: Found, **how: Any) -> Settings:
    return parse(render(found, now=NOW, **how), found.folder / "backup.toml")


def test_the_file_written_for_a_folder_loads_without_a_problem(geometra: Path) -> None:
    settings = loaded(discover(geometra, usual=(), services={}))
    assert {name: source.kind for name, source in settings.sources.items()} == {
        kind.replace("_", "-") if kind != "source_code" else "code": kind
        for kind in ("source_code", "config", "logs", "models", "docs", "test_data")
        if kind in source_kinds()
    }
    assert settings.destinations["local"].kind == "local"
    assert settings.state == geometra / ".geometra-backup"
    assert settings.plans["nightly"].schedule == "30 1 * * *"
    assert settings.plans["nightly"].keep == Keep()
    assert problems(settings, NOW) == []


def test_the_file_explains_every_option(geometra: Path) -> None:
    text = " ".join(
        line.removeprefix("# ").strip() for line in render(discover(geometra, usual=(), services={})).split("\n")
    )
    used = [kind for name, kind in source_kinds().items() if f'kind = "{name}"' in text]
    assert len(used) >= 5
    models: list[type[Model]] = [Settings, KeysSettings, PlanSettings, Keep, destination_kinds()["local"], *used]
    for model in models:
        for option in options(model):
            assert f" {option.name} = " in text or f" {option.name}," in text or text.endswith(option.name), option.name
            assert option.text in text, option.name


def test_a_default_that_is_shown_as_a_comment_can_be_used_as_it_is(geometra: Path) -> None:
    """Uncommented, each such line changes nothing, so none of them is wrong."""
    found = discover(geometra, usual=(), services={})
    text = render(found, now=NOW)
    commented = re.compile(r"^# (\w+ = (?!\.\.\.).*(?:\n#     .*)*)$", re.MULTILINE)
    assert len(commented.findall(text)) > 15
    uncommented = commented.sub(lambda match: match[1].replace("\n#    ", "\n"), text)
    assert tomllib.loads(uncommented).keys() > tomllib.loads(text).keys()
    given = parse(uncommented, found.folder / "backup.toml")
    assert given.sources == loaded(found).sources
    assert given.grace == loaded(found).grace


def test_nothing_of_its_own_is_backed_up_where_the_whole_folder_is(tmp_path: Path) -> None:
    settings = loaded(Found(tmp_path, recognised=(Recognised("docs", (tmp_path,)),)), destination=Path("store/here"))
    assert problems(settings, NOW) == []
    assert problems(loaded(Found(tmp_path)), NOW) == [], "nothing recognised"


def test_paths_of_one_name_and_odd_names_are_written_so_that_they_load(tmp_path: Path) -> None:
    odd = ['a "b" \\c', "é\x7f\t", "[x]#!", "*"]
    paths = tuple(
        sorted([tmp_path / "a/config", tmp_path / "config", Path("/srv/config"), *(tmp_path / name for name in odd)])
    )
    settings = loaded(Found(tmp_path, recognised=(Recognised("config", paths), Recognised("docs", (Path("/"),)))))
    config, docs = settings.sources["config"], settings.sources["docs"]
    assert isinstance(config, FileTreeSettings)
    assert isinstance(docs, FileTreeSettings)
    named = [one if isinstance(one, NamedPath) else NamedPath(path=one, name=one.name) for one in config.paths]
    assert {one.path for one in named} == set(paths)
    assert len({one.name for one in named}) == len(paths)
    assert docs.paths == (NamedPath(path=Path("/"), name="root"),)


def test_two_repositories_of_one_name_are_two_sources(tmp_path: Path) -> None:
    if "source_code" not in source_kinds():
        pytest.skip("no such kind yet")
    paths = [tmp_path / "a/Code Base", tmp_path / "b/Code Base", tmp_path / "config"]
    found = Found(tmp_path, recognised=tuple(Recognised("source_code", (path,)) for path in paths))
    assert list(loaded(found).sources) == ["code-base", "code-base-2", "config"]


def test_services_are_named_in_a_comment_and_nothing_else(tmp_path: Path) -> None:
    found = Found(tmp_path, services=(Service("redis", "127.0.0.1:6379"), Service("chroma", "127.0.0.1:8000")))
    text = render(found, now=NOW)
    if "redis" not in source_kinds():
        assert "# Found redis on 127.0.0.1:6379: sources of the kind `redis` come in a later version." in text
    assert list(loaded(found).sources) == ["docs"]


@pytest.mark.parametrize("zone", ["Europe/London", "Europe/Helsinki", "Africa/Cairo", "Australia/Lord_Howe", "UTC"])
def test_the_night_is_set_to_a_time_that_every_day_has(tmp_path: Path, zone: str) -> None:
    settings = loaded(Found(tmp_path, timezone=zone))
    assert settings.zone_of("nightly") == ZoneInfo(zone)
    assert problems(settings, NOW) == []


def test_the_passphrase_is_written_as_a_reference_only(tmp_path: Path) -> None:
    settings = loaded(Found(tmp_path), passphrase="env:GEOMETRA_BACKUP_PASSPHRASE")
    assert settings.keys.passphrase is not None
    assert settings.keys.passphrase.reference == "env:GEOMETRA_BACKUP_PASSPHRASE"


def test_this_machines_name_and_zone_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "GPU_Node 7.example.org")
    found = discover(tmp_path, usual=(), services={})
    assert found.host == "gpu_node-7"
    assert str(ZoneInfo(found.timezone)) == found.timezone
    monkeypatch.setattr(socket, "gethostname", lambda: "...")
    assert discover(tmp_path, usual=(), services={}).host == "local"


# --- the reference and the editor's schema


def test_the_reference_names_every_option_of_every_kind_with_its_default_and_text() -> None:
    text = " ".join(reference().split())
    models: list[type[Model]] = [Settings, KeysSettings, PlanSettings, Keep]
    for model in (*models, *destination_kinds().values(), *source_kinds().values()):
        for option in options(model):
            assert option.text, f"{model.__name__}.{option.name} has no text"
            assert option.text in text
            assert f"{option.name}: {option.what}; " in text
    assert 'state: a path; default ".geometra-backup"' in text
    assert "broker: `env:NAME` or `file:PATH`; not set" in text
    assert "path: a path; needed" in text
    assert max(len(line) for line in reference().split("\n")) <= 110


def test_the_editors_schema_holds_what_the_loader_accepts() -> None:
    whole = json.loads(json.dumps(schema()))
    kinds = {
        one["properties"]["kind"]["const"] for one in whole["properties"]["sources"]["additionalProperties"]["anyOf"]
    }
    assert kinds == set(source_kinds())
    references = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(whole)))
    assert references <= set(whole["$defs"])
    assert whole["properties"]["grace"]["pattern"]
    assert whole["additionalProperties"] is False

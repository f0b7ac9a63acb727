"""What `init` finds, in folders and on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tasks.discovery import Recognised, Service, discover
from tests.free_port import free_port
from tests.unit.configuration.sample_folder import geometra, make
from workers.broker_program import find_server

SEGMENT = "1463b85d-0481-4562-a2cb-bf9f962f44ef"


def look(folder: Path) -> dict[str, list[str]]:
    """What is found in a folder alone: kind -> paths relative to it; repositories joined."""
    found: dict[str, list[str]] = {}
    for one in discover(folder, usual=(), services={}).recognised:
        found.setdefault(one.kind, []).extend(str(path.relative_to(folder)) for path in one.paths)
    return found


def test_a_folder_such_as_geometras_is_recognised(tmp_path: Path) -> None:
    assert look(geometra(tmp_path)) == {
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
        (
            ["store/chroma.sqlite3", f"store/{SEGMENT}/best.onnx", "store/more/x.onnx"],
            {"chroma": ["store"], "models": ["store/more"]},
        ),
        (["chroma.sqlite3", f"{SEGMENT}/best.onnx", "docs/a.md"], {"chroma": ["."], "docs": ["docs"]}),
        ([f"{SEGMENT}/best.onnx"], {"models": [SEGMENT]}),
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
    os.makedirs(os.fsencode(here) + b"/\xff\xfe/logs/x")
    (here / os.fsdecode(b"\xff\xfe") / "logs" / "a.log").touch()
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
    assert discover(tmp_path, usual=(), services={}).cut_short


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
    make(tmp_path, "srv/geometra/code/.git/HEAD", "srv/geometra/.git/HEAD")
    for here in (tmp_path / "srv/geometra", tmp_path / "srv/geometra/code", tmp_path):
        found = discover(here, usual=((tmp_path / "srv", ""),), services={})
        (repositories,) = [one.paths for one in found.recognised]
        assert len(set(repositories)) == len(repositories) == (1 if here.name == "code" else 2)


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


def test_a_submodule_is_a_repository_and_a_further_working_tree_is_not(tmp_path: Path) -> None:
    def git(*arguments: str | Path) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always")
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    git("init", tmp_path / "library")
    git("-C", tmp_path / "library", "commit", "--allow-empty", "-m", "x")
    git("init", tmp_path / "here/site")
    git("-C", tmp_path / "here/site", "submodule", "add", tmp_path / "library", "library")
    git("-C", tmp_path / "here/site", "commit", "-m", "x")
    git("-C", tmp_path / "here/site", "worktree", "add", tmp_path / "here/further")
    assert look(tmp_path / "here") == {"source_code": ["site", "site/library"]}


def test_this_machines_name_and_zone_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "GPU_Node 7.example.org")
    found = discover(tmp_path, usual=(), services={})
    assert found.host == "gpu_node-7"
    assert str(ZoneInfo(found.timezone)) == found.timezone
    monkeypatch.setattr(socket, "gethostname", lambda: "...")
    assert discover(tmp_path, usual=(), services={}).host == "local"

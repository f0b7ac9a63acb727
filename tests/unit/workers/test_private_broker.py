"""The private broker: started once, kept over kills, private, gone with its last user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.broker import broker_folder, connect, socket_path
from tasks.errors import SettingsError, Unavailable
from tasks.settings import Settings
from workers import private_broker as module
from workers.broker_program import find_server
from workers.private_broker import keep_running, private_broker

FILE = Path("backup.toml")


@pytest.fixture(autouse=True)
def _no_broker_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOMETRA_BACKUP_BROKER", raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(state=tmp_path / "state", destinations={}, sources={})
    yield settings
    assert not socket_path(settings).exists()
    folder = socket_path(settings).parent
    assert folder == broker_folder(settings) or not folder.exists()


def server_of(url: str) -> int:
    with closing(connect(url)) as client:
        return int(client.info("server")["process_id"])


def runs(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_it_runs_while_it_is_used_and_not_a_moment_longer(settings: Settings) -> None:
    with private_broker(settings, FILE) as url:
        process = server_of(url)
        assert runs(process)
    assert not runs(process)


def test_what_it_knew_is_there_the_next_time(settings: Settings) -> None:
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        client.set("kept", "yes")
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.get("kept") == "yes"
        time.sleep(1.2)  # it writes its file every second
        os.kill(server_of(url), signal.SIGKILL)
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.get("kept") == "yes"


def test_users_share_it_and_the_last_one_stops_it(settings: Settings) -> None:
    with private_broker(settings, FILE) as url:
        process = server_of(url)
        with private_broker(settings, FILE) as same:
            assert server_of(same) == process
        assert runs(process)
    assert not runs(process)


def test_one_whose_user_was_killed_is_taken_over_and_stopped(settings: Settings) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from tasks.settings import Settings\n"
        "from workers.private_broker import private_broker\n"
        "settings = Settings(state=pathlib.Path(sys.argv[1]), destinations={}, sources={})\n"
        "with private_broker(settings, pathlib.Path('backup.toml')) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(settings.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        process = server_of(child.stdout.readline().strip())
        child.kill()
    assert runs(process)
    with private_broker(settings, FILE) as url:
        assert server_of(url) == process
    assert not runs(process)


def test_one_whose_folder_was_removed_is_started_anew_and_the_old_one_ends(settings: Settings) -> None:
    with private_broker(settings, FILE) as url:
        process = server_of(url)
        shutil.rmtree(settings.state)
        keep_running(settings)
        assert server_of(url) != process
        assert not runs(process)
    assert servers_of(settings) == []


@pytest.mark.parametrize("moment", ["_note", "_answers"])
def test_who_is_told_to_end_while_it_starts_leaves_none_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real, calls = getattr(module, moment), 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1 or moment == "_note":
            monkeypatch.setattr(module, moment, real)
            raise SystemExit(143)
        return real(*arguments)

    monkeypatch.setattr(module, moment, interrupted)
    with pytest.raises(SystemExit), private_broker(settings, FILE):
        pass
    assert servers_of(settings) == []


def servers_of(settings: Settings) -> list[int]:
    """All that run on its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            is_server = entry.name.isdigit() and b"-server" in (entry / "cmdline").read_bytes()
            if is_server and (entry / "cwd").readlink() == broker_folder(settings):
                found.append(int(entry.name))
    return found


def test_one_that_refuses_to_answer_as_its_disk_is_full_gets_no_rival(settings: Settings) -> None:
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        process = server_of(url)
        # As a full disk does: PING is answered with an error.
        client.execute_command("ACL", "SETUSER", "default", "-ping")  # type: ignore[no-untyped-call]
        with pytest.raises(redis.ResponseError):
            client.ping()
        keep_running(settings)
        with private_broker(settings, FILE) as same:
            assert server_of(same) == process
        assert servers_of(settings) == [process]
    assert not runs(process)


def test_one_that_stalls_gets_no_rival_and_is_used_again_when_it_goes_on(settings: Settings) -> None:
    with private_broker(settings, FILE) as url:
        process = server_of(url)
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match=f"kill -9 {process}`"):
                keep_running(settings)
            assert servers_of(settings) == [process]
            assert socket_path(settings).exists()
            threading.Timer(3, os.kill, (process, signal.SIGCONT)).start()
            with private_broker(settings, FILE) as same:
                assert server_of(same) == process
        finally:
            os.kill(process, signal.SIGCONT)
    assert not runs(process)


def test_one_that_stalls_while_its_last_user_leaves_is_found_by_the_next(settings: Settings) -> None:
    with private_broker(settings, FILE) as url:
        process = server_of(url)
        os.kill(process, signal.SIGSTOP)
    os.kill(process, signal.SIGCONT)
    with private_broker(settings, FILE) as url:
        assert server_of(url) == process
    assert not runs(process)


def kept_data(settings: Settings) -> Path:
    """Of a broker that ran and has ended."""
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        client.set("kept", "yes")
    return broker_folder(settings) / "appendonlydir"


@pytest.mark.parametrize("damage", ["zeros behind", "zeros instead", "no manifest", "no base"])
def test_data_that_it_cant_read_is_set_aside_whole_and_told_of(
    settings: Settings, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    data = kept_data(settings)
    (rows,) = data.glob("*.incr.aof")
    (manifest,) = data.glob("*.manifest")
    (base,) = data.glob("*.base.*")
    if damage == "zeros behind":
        rows.write_bytes(rows.read_bytes() + bytes(4096))
    elif damage == "zeros instead":
        rows.write_bytes(bytes(rows.stat().st_size))
    elif damage == "no manifest":
        manifest.write_bytes(b"")
    else:
        base.unlink()
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.get("kept") is None
        client.set("new", "yes")
    (aside,) = broker_folder(settings).glob("appendonlydir.damaged-*")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
    assert str(aside) in capsys.readouterr().err
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.get("new") == "yes"
    assert capsys.readouterr().err == ""


def test_data_stays_where_it_is_if_something_else_keeps_it_from_starting(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    data = kept_data(settings)
    socket_path(settings).parent.mkdir(mode=0o700, exist_ok=True)  # below /tmp, if the tests' folder has a long path
    socket_path(settings).mkdir()
    (socket_path(settings) / "in the way").touch()
    with pytest.raises(Unavailable, match=r"broker\.log"), private_broker(settings, FILE):
        pass
    assert [path.name for path in broker_folder(settings).glob("append*")] == [data.name]
    assert capsys.readouterr().err == ""
    (socket_path(settings) / "in the way").unlink()
    socket_path(settings).rmdir()
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.get("kept") == "yes"


def test_only_this_user_can_reach_it(settings: Settings) -> None:
    with private_broker(settings, FILE) as url:
        path = socket_path(settings)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o077 == 0
        with closing(connect(url)) as client:
            assert client.config_get("port")["port"] == "0"


def test_a_state_folder_with_a_long_path_works_too(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / ("long" * 30) / "state", destinations={}, sources={})
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.ping()
    assert not socket_path(settings).parent.exists()


def test_a_short_folder_that_somebody_else_made_first_is_refused(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / ("long" * 30) / "state", destinations={}, sources={})
    (tmp_path / "theirs").mkdir()
    folder = socket_path(settings).parent
    folder.symlink_to(tmp_path / "theirs")
    try:
        with pytest.raises(SettingsError, match="of this user alone"), private_broker(settings, FILE):
            pass
    finally:
        folder.unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_one_of_another_user_names_who_is_to_run_it(settings: Settings) -> None:
    """As `sudo geometra-backup run` finds it: to remove it would take what waits there from who backs up."""
    broker_folder(settings).mkdir(parents=True)
    for folder in (settings.state, broker_folder(settings)):
        os.chown(folder, 12345, -1)
    with pytest.raises(SettingsError, match=r"as that user \(`sudo -u '#12345'"), private_broker(settings, FILE):
        pass


def test_a_server_that_does_not_start_is_unavailable_and_says_where_to_look(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/valkey-server").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/valkey-server").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match=r"broker\.log"), private_broker(settings, FILE):
        pass


def test_without_a_server_on_the_path_the_one_of_the_wheel_is_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_server().name == "valkey-server"
    with private_broker(settings, FILE) as url, closing(connect(url)) as client:
        assert client.ping()

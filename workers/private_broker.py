"""A private Redis or Valkey server for one machine: on a Unix socket, kept across kills, gone with its last user."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import redis
from kombu import Connection
from kombu.exceptions import OperationalError

from tasks.broker import broker_folder, broker_url, connect, socket_path
from tasks.errors import SettingsError, Unavailable
from tasks.file_lock import is_mine
from tasks.settings import Settings
from workers.broker_program import find_server
from workers.state_owner import claim

_START_SECONDS = 10.0
_DATA = ("appendonlydir", "appendonly.aof")
"""Of a server since Redis 7, and before."""
_MARK = "server.lock"
"""In its folder: locked by the server itself, from before it begins until it has ended."""
_started: dict[int, subprocess.Popen[bytes]] = {}
_locks: set[IO[str]] = set()


@contextmanager
def private_broker(settings: Settings, file: Path) -> Iterator[str]:
    """Its URL, while it runs: started unless it runs already, and shut down by the last of its users to leave. Survives
    a kill of its user, and of itself with at most a second's messages. Data that it can't read is kept under another
    name, which is told on standard error. `file` is the backup.toml that the settings came from: raises `SettingsError`
    while another one uses the broker; `Unavailable`."""
    folder = broker_folder(settings)
    socket = socket_path(settings)
    try:
        for each in (folder, socket.parent):
            _make_private(each)
        users, starting = (folder / "users.lock").open("a"), (folder / "starting.lock").open("a")
    except OSError as error:
        raise _unusable(folder, error) from error
    with users, starting, _not_inherited(users, starting):
        try:
            with _locked(starting):
                # Shared by all: whoever gets it for himself alone when leaving is the last, when coming the first.
                claim(folder, file, alone=is_mine(users))
                fcntl.flock(users, fcntl.LOCK_SH)
                _start(settings, folder, socket)
            yield broker_url(settings)
        finally:
            with _locked(starting):
                if is_mine(users):
                    _stop(settings, folder, socket)


def hand_back(settings: Settings) -> None:
    """Have every message that some worker holds delivered again, at once. For after a worker was killed: one that lives
    and works on its message is not disturbed, as the record knows who does what. Raises `Unavailable`."""
    try:
        with Connection(broker_url(settings), transport_options={"visibility_timeout": 0}) as connection:
            channel: Any = connection.default_channel
            channel.qos.restore_visible(num=10_000)
    except (redis.RedisError, OperationalError) as error:
        raise Unavailable("the private broker does not answer") from error


def keep_running(settings: Settings) -> None:
    """Start it again if it was killed; for who is one of its users. Raises `Unavailable`."""
    folder = broker_folder(settings)
    if not _answers(settings):
        try:
            _make_private(folder)  # somebody may have removed the state folder meanwhile
        except OSError as error:
            raise _unusable(folder, error) from error
        with _opened(folder / "starting.lock") as starting, _locked(starting):
            _start(settings, folder, socket_path(settings), patience=0)


def _start(settings: Settings, folder: Path, socket: Path, patience: float = _START_SECONDS) -> None:
    if _answers(settings):
        return
    server = find_server()
    _make_private(socket.parent)  # the last to stop one may have taken it away meanwhile
    command = [str(server), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    command += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    command += ["--maxmemory-policy", "noeviction", "--logfile", str(folder / "broker.log"), "--daemonize", "no"]
    with _opened(folder / _MARK) as mark, _not_inherited(mark):
        if not _is_alone(settings, mark, patience):
            return
        _end_those_without_folder(folder)
        code = _launch(settings, command, mark)
        if code is not None and _is_by_itself(code) and (aside := _launch_without_data(settings, command, mark)):
            sys.stderr.write(
                f"The private broker could not read its data, which is now `{aside}`: it began without any, and what it"
                " knew of runs is taken from their reports.\n"
            )
        elif code is not None:
            raise Unavailable(f"the private broker `{server}` does not start: `{folder / 'broker.log'}` says why")


def _launch(settings: Settings, command: list[str], mark: IO[str]) -> int | None:
    """None when it answers, else the code that it ended with. Raises `Unavailable` where it does neither in time."""
    socket = socket_path(settings)
    with suppress(OSError):  # of one that was killed; what can't be removed is the server's to complain of
        socket.unlink()
    # In a session of its own: an interrupt from the keyboard is for the run, which still needs its broker to end well.
    # The lock goes with it, and lasts as long as it lives.
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, pass_fds=(mark.fileno(),),
    )  # fmt: skip
    deadline = time.monotonic() + _START_SECONDS
    try:
        _started[child.pid] = child
        _note(mark, child.pid)
        while not _answers(settings):
            if (code := child.poll()) is not None:
                return code
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the private broker `{command[0]}` does not answer in time: `broker.log` in"
                    f" `{broker_folder(settings)}` may say why"
                )
            time.sleep(0.01)
    except BaseException:  # whoever is told to end meanwhile leaves none behind
        child.kill()
        child.wait()
        raise
    return None


def _is_by_itself(code: int) -> bool:
    """Whether a server ended for a reason of its own, and was not told to nor killed."""
    return code > 0 or -code in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)


def _launch_without_data(settings: Settings, command: list[str], mark: IO[str]) -> Path | None:
    """For a server that did not start with its data: what that is called now, if one without it answers. None where
    that does not start either, or there is no data that this user may read: something else is wrong, and the data is
    where it was."""
    folder = broker_folder(settings)
    data = next((path for name in _DATA if (path := folder / name).exists()), None)
    if data is None or not _may_be_read(data):
        return None
    aside, answers = folder / f"{data.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}", False
    try:
        data.rename(aside)
        try:
            answers = _launch(settings, command, mark) is None
        finally:
            if not answers:
                shutil.rmtree(data, ignore_errors=True)  # empty: of the one that did not start
                aside.rename(data)
    except OSError as error:
        raise Unavailable(
            f"the private broker can't read its data `{data}`: move it away ({error.strerror})"
        ) from error
    return aside if answers else None


def _may_be_read(data: Path) -> bool:
    try:
        for path in data.iterdir() if data.is_dir() else [data]:
            with path.open("rb"):
                pass
    except OSError:
        return False
    return True


def _is_alone(settings: Settings, mark: IO[str], patience: float) -> bool:
    """Whether no server lives in the folder, as two on the same files would spoil them: the lock on `mark` is held now.
    False where one does, and answers again. Raises `Unavailable` for one that does not within `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        if is_mine(mark):
            return True
        if _answers(settings):
            return False
        if time.monotonic() > deadline:
            process = os.pread(mark.fileno(), 20, 0).decode("ascii", "replace").strip()
            raise Unavailable(
                f"the private broker in `{Path(mark.name).parent}` runs and does not answer: wait, or end it with"
                f" `kill -9 {process or 'PROCESS'}`; what it holds is kept"
            )
        time.sleep(0.05)


def _end_those_without_folder(folder: Path) -> None:
    """For who is alone in it: what this process started there, and lives, has lost its folder to somebody who removed
    it. Workers that are connected still would not come to the new one."""
    for child in _started.values():
        if isinstance(child.args, list) and str(folder) in child.args:
            child.kill()


def _note(mark: IO[str], process: int) -> None:
    with suppress(OSError):  # a full disk: a number less in a message
        os.ftruncate(mark.fileno(), 0)
        os.pwrite(mark.fileno(), f"{process}\n".encode(), 0)


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+")
    except OSError as error:
        raise _unusable(path.parent, error) from error


def _unusable(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the folder of the private broker `{folder}` can't be used: {error.strerror}")


def _stop(settings: Settings, folder: Path, socket: Path) -> None:
    """By asking it through its own socket, so that it can't be another server. One that does not answer keeps its
    socket: whoever comes next finds it by that."""
    with suppress(redis.RedisError):
        client = connect(broker_url(settings), patient=False)
        process = int(client.info("server")["process_id"])
        client.shutdown(nosave=True)
        deadline = time.monotonic() + _START_SECONDS
        while _runs(process) and time.monotonic() < deadline:
            time.sleep(0.01)
    with suppress(Unavailable, BlockingIOError), _opened(folder / _MARK) as mark, _not_inherited(mark):
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # there is none, or what none was made for
            socket.unlink()
        with suppress(OSError):  # not empty, where it is the folder of the broker's data as well
            socket.parent.rmdir()


def _answers(settings: Settings) -> bool:
    """Whether it is up. So is one that refuses what it is asked, as its disk is full; one that loads is not yet."""
    try:
        return bool(connect(broker_url(settings), patient=False).ping())
    except redis.ResponseError:
        return True
    except redis.RedisError:
        return False


def _runs(process: int) -> bool:
    if process in _started:
        return _started[process].poll() is None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _make_private(folder: Path) -> None:
    """A folder that only this user can enter; in /tmp somebody else may have made it first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid not in (os.getuid(), 0) and found.st_uid == folder.parent.stat().st_uid:
        who = f"run this as that user (`sudo -u '#{found.st_uid}' ...`)"
        raise SettingsError(f"`{folder.parent}` is of the user who backs up here: {who}, or name another `state`")
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SettingsError(f"`{folder}` must be a folder of this user alone: remove it, or choose a shorter `state`")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


@contextmanager
def _not_inherited(*files: IO[str]) -> Iterator[None]:
    """A lock belongs to the command, not to the worker that is forked from it and may outlive it for a moment."""
    _locks.update(files)
    try:
        yield
    finally:
        _locks.difference_update(files)


def _let_go() -> None:
    while _locks:
        _locks.pop().close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)

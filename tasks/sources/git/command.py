"""The git executable, run so that a repository nobody vouches for can't make it run, fetch or write anything."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Generator, Sequence
from contextlib import suppress
from typing import IO

from tasks.errors import SourceError
from tasks.sources.path_text import path_text

_KEPT = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # What a partial clone lacks would be fetched, by whatever program the repository's configuration names.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.logAllRefUpdates=false",
    # Wrong or stale, it would hide that objects are missing.
    "core.commitGraph=false",
    # Larger files are streamed, not held in memory.
    "core.bigFileThreshold=16m",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
)
_STARTING_OTHERS = ("repack",)
"""Commands of which a part is another process that writes, and would go on where they were ended alone: each gets a
process group of its own. All others stay in ours, with which workers end them."""
_BUFFER = 1 << 18
_COMPLAINTS = 1 << 16
_PIPE = 1 << 20
_CREDENTIALS = re.compile(rb"(://)[^/@\s]*@")

PATIENCE = 3600.0
"""Seconds after which a git that says nothing is ended: a pipe in the place of a file would keep it for ever."""


_FROM_OUTSIDE = tuple(
    -number for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
)
"""With these a person, a service's end or a machine without memory ends a git, whatever the repository holds."""


class GitFailed(Exception):
    """git ended with an error, or not at all; the text is one line."""


class GitKilled(GitFailed):
    """Somebody ended it, which says nothing of the repository."""


def without_credentials(url: bytes) -> bytes:
    return _CREDENTIALS.sub(rb"\1", url)


class Git:
    """git on one git directory, which is named and not searched for, so it does not matter who owns it.

    `tree` is the working tree; `objects` are those of another repository, read instead of its own. Raises
    `SourceError` where there is no git.
    """

    def __init__(
        self, folder: bytes, *, tree: bytes | None = None, objects: bytes | None = None, settings: Sequence[str] = ()
    ) -> None:
        self._environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _ENVIRONMENT
        # Without the second, a `core.worktree` that leads nowhere would end every command.
        self._environment |= {"GIT_DIR": os.fsdecode(folder), "GIT_WORK_TREE": os.fsdecode(tree or folder)}
        if objects is not None:
            self._environment["GIT_OBJECT_DIRECTORY"] = os.fsdecode(objects)
        options = (word for setting in (*_SETTINGS, *settings) for word in ("-c", setting))
        self._command = ["git", "--no-pager", *options]
        self._place = tree or folder

    def run(self, *arguments: str | bytes, given: bytes = b"", allowed: Collection[int] = (0,)) -> bytes:
        """All that it prints, for what is short. Raises `GitFailed`."""
        return self.talk(*arguments, given=given, allowed=allowed)[0]

    def talk(
        self, *arguments: str | bytes, given: bytes = b"", allowed: Collection[int] = (0,)
    ) -> tuple[bytes, list[bytes]]:
        """What it prints, and the lines of its warnings. Raises `GitFailed`."""
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.seek(0)
            output = self.start(*arguments, given=file, allowed=allowed)
            printed = b"".join(output.pieces())
        return printed, output.warnings

    def records(self, *arguments: str | bytes, given: IO[bytes] | None = None, end: bytes = b"\0") -> Generator[bytes]:
        """What it prints, record by record. Raises `GitFailed`, after the last one too."""
        return self.start(*arguments, given=given).records(end)

    def start(
        self, *arguments: str | bytes, given: IO[bytes] | Output | None = None, allowed: Collection[int] = (0,)
    ) -> Output:
        """It runs, and reads the file `given`, or what another one prints."""
        if isinstance(given, Output):
            return Output(*self._start(arguments, given.pipe, subprocess.PIPE), source=given, allowed=allowed)
        return Output(*self._start(arguments, given or subprocess.DEVNULL, subprocess.PIPE), allowed=allowed)

    def feed(self, *arguments: str | bytes) -> Input:
        """It runs, and reads what is written to it."""
        return Input(*self._start(arguments, subprocess.PIPE, subprocess.DEVNULL))

    def _start(
        self, arguments: Sequence[str | bytes], given: IO[bytes] | int, printed: int
    ) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        errors = tempfile.TemporaryFile()  # noqa: SIM115, it stays open as long as the process runs
        try:
            command = [*self._command, *arguments]
            process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=given,
                stdout=printed,
                stderr=errors,
                env=self._environment,
                cwd=self._place,
                process_group=0 if arguments[0] in _STARTING_OTHERS else None,
            )
        except OSError as error:
            errors.close()
            if shutil.which("git") is None:
                raise SourceError(
                    "`git` is not installed, or not on PATH: install it where this worker runs"
                ) from error
            raise GitFailed(f"git can't be run in `{path_text(self._place)}`: {error.strerror}") from error
        return process, errors


class Running:
    """A git that was started."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self.warnings: list[bytes] = []
        """The lines that it complained in, once it has ended."""

    def stop(self) -> None:
        """Ends it, if it is still running."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        if self._process.poll() is None:
            if os.getpgid(self._process.pid) == self._process.pid:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._errors.close()

    def finish(self, allowed: Collection[int] = (0,)) -> None:
        """Waits for its end. Raises `GitFailed`."""
        try:
            code = self._process.wait(PATIENCE)
            self._errors.seek(0)
            self.warnings = [line for line in self._errors.read(_COMPLAINTS).splitlines() if line.strip()]
            if code in _FROM_OUTSIDE:
                raise GitKilled(f"git was ended by the signal {-code}: is the machine out of memory?")
            if code not in allowed:
                raise GitFailed(self._complaint(code))
        except subprocess.TimeoutExpired as error:
            raise GitFailed(_stuck()) from error
        finally:
            self.stop()

    def _complaint(self, code: int) -> str:
        grave = [line for line in self.warnings if line.startswith((b"fatal:", b"error:"))]
        line = (grave or self.warnings or [b"ended with code %d and no word" % code])[0]
        return "git: " + path_text(without_credentials(line.strip()))[:300]


class Output(Running):
    """What a git prints. It comes to its end only if git ended well, and so did the one that it reads from."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        errors: IO[bytes],
        *,
        source: Output | None = None,
        allowed: Collection[int] = (0,),
    ) -> None:
        super().__init__(process, errors)
        self.pipe = _opened(process.stdout)
        if sys.platform == "linux":
            with suppress(OSError):  # the limit of what one user's pipes may hold is reached
                fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        self._source = source
        self._allowed = allowed
        self._ended = False
        self._poll = select.poll()
        self._poll.register(self.pipe, select.POLLIN)
        if source:
            source.pipe.close()

    def readinto(self, buffer: memoryview) -> int:
        """The number of bytes; 0 only at the end. Raises `GitFailed`."""
        if self._ended:
            return 0
        if not self._poll.poll(PATIENCE * 1000):
            self.stop()
            raise GitFailed(_stuck())
        count = os.readv(self.pipe.fileno(), (buffer,))
        if not count:
            self._ended = True
            try:
                self.finish(self._allowed)
                if self._source:
                    self._source.finish()
            finally:
                self.stop_all()
        return count

    def stop_all(self) -> None:
        """Ends it, and the one that it reads from."""
        self.stop()
        if self._source:
            self._source.stop_all()

    def pieces(self) -> Generator[bytes]:
        buffer = memoryview(bytearray(_BUFFER))
        try:
            while count := self.readinto(buffer):
                yield bytes(buffer[:count])
        finally:
            self.stop_all()

    def records(self, end: bytes) -> Generator[bytes]:
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(end)
            yield from whole
        if rest:
            yield rest


class Input(Running):
    """A git that is written to."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        super().__init__(process, errors)
        self._pipe = _opened(process.stdin)

    def write(self, data: memoryview) -> None:
        """Raises `GitFailed`."""
        try:
            while data:
                data = data[self._pipe.write(data) :]
        except BrokenPipeError:
            self.finish()
            raise GitFailed("git: ended before it had read everything") from None

    def finish(self, allowed: Collection[int] = (0,)) -> None:
        self._pipe.close()
        super().finish(allowed)


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe


def _stuck() -> str:
    return f"git: no answer for {PATIENCE / 60:.0f} minutes; is a pipe or a hanging mount among the repository's files?"

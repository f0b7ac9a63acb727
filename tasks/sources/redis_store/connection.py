"""One connection to one server: commands out, replies in, and every failure as one of our errors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, cast

from tasks.errors import BackupError, NoSpace, Refused, SourceError, Unavailable
from tasks.sources.redis_store.place import Place

_PATIENCE = 60.0
"""Seconds without a byte after which a server counts as gone. A server that prepares a snapshot sends one every ten."""
_CONNECT_SECONDS = 10.0
_NAME = "geometra-backup"
_PIECE = 1 << 20
_LATER = (
    *("LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "NOMASTERLINK", "NOREPLICAS", "BGSAVE", "IOERR"),
    *("MOVED", "ASK"),  # a slot has gone to another server of the cluster
)
_FORBIDDEN = ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED")

Argument = bytes | bytearray | memoryview | str | int


class ErrorReply(Exception):
    """What the server says is wrong with one command. The text is the server's, and may repeat a key."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]

    @property
    def is_forbidden(self) -> bool:
        """Rights do not allow the command, or the server does not know it: a managed service hides what it forbids."""
        return self.code in _FORBIDDEN or "unknown command" in str(self).lower() or "not allowed" in str(self).lower()


class Connection:
    """Opened by the first command. Any failure of the network closes it and is `Unavailable`. Used by one thread."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._at = 0

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()
        self._at = 0

    def open(self) -> None:
        """Connect and log in. Raises `Unavailable`, `Refused`, `SettingsError`."""
        if self._socket is not None:
            return
        place = self.place
        try:
            self._socket = self._connected()
        except ssl.SSLCertVerificationError as error:
            raise Refused(
                f"{place.shown} shows a certificate that is not trusted ({error.verify_message}): name its authority"
                " with `ca_file`, and the host as the certificate does"
            ) from error
        except OSError as error:
            why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise Unavailable(f"{place.shown} can't be reached: {why}; see that it runs and listens there") from error
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def _opened(self) -> socket.socket:
        if self._socket is None:
            self.open()
        return cast(socket.socket, self._socket)

    def _connected(self) -> socket.socket:
        place = self.place
        if place.socket:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.settimeout(_CONNECT_SECONDS)
                made.connect(place.socket)
            except BaseException:
                made.close()
                raise
        else:
            made = socket.create_connection((place.host, place.port), _CONNECT_SECONDS)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if place.tls is not None:
            try:
                made = place.tls.context().wrap_socket(made, server_hostname=place.host or "localhost")
            except BaseException:
                made.close()
                raise
        made.settimeout(_PATIENCE)
        return made

    def _log_in(self) -> None:
        place = self.place
        if place.password:
            login: list[Argument] = [place.username, place.password] if place.username else [place.password]
            try:
                self.call("AUTH", *login)
            except ErrorReply as error:
                # The server's own words never repeat a password, but they need not be relied on.
                raise Refused(
                    f"{place.shown} refuses the password"
                    + (f" of the user `{place.username}`" if place.username else "")
                    + ": see `username` and `password`"
                ) from error
        try:
            self.call("PING")
        except ErrorReply as error:
            if error.code != "NOPERM":  # which is said to one who is known, and may do other things
                raise self.translated(error, "PING") from error
        try:
            self.call("CLIENT", "SETNAME", _NAME)
        except ErrorReply as error:
            if not error.is_forbidden:
                raise self.translated(error, "CLIENT SETNAME") from error

    def call(self, *command: Argument) -> Any:
        """The reply to one command. Raises `ErrorReply`."""
        self.send([command])
        return self.reply()

    def ask(self, *command: Argument) -> Any:
        """The reply to one command; an error of the server as one of ours."""
        try:
            return self.call(*command)
        except ErrorReply as error:
            raise self.translated(error, str(command[0])) from error

    def ask_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """The replies to a few commands that are sent at once; errors are among them."""
        self.send(commands)
        return [self.reply_or_error() for _ in commands]

    def send(self, commands: Iterable[Sequence[Argument]]) -> None:
        parts: list[bytes | bytearray | memoryview] = []
        for command in commands:
            parts.append(b"*%d\r\n" % len(command))
            for argument in command:
                data = str(argument).encode() if isinstance(argument, (str, int)) else argument
                parts += (b"$%d\r\n" % len(data), data, b"\r\n")
        self.send_raw(b"".join(parts))

    def send_raw(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._opened().sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def reply(self) -> Any:
        """The next reply. Raises `ErrorReply`."""
        reply = self.reply_or_error()
        if isinstance(reply, ErrorReply):
            raise reply
        return reply

    def reply_or_error(self) -> Any:
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self._take(int(rest))
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"*":
            return None if rest == b"-1" else [self.reply_or_error() for _ in range(int(rest))]
        if kind == b"-":
            return ErrorReply(rest.decode("utf-8", "backslashreplace"))
        self.close()
        raise SourceError(f"{self.place.shown} does not speak as a Redis server does: is the port right?")

    def all_are(self, word: bytes, count: int) -> bool:
        """Whether the next `count` replies are all this word, `OK` or `QUEUED`; then they are taken, else none is."""
        expected = b"+%b\r\n" % word * count
        while len(self._buffer) - self._at < len(expected):
            # An error may be shorter than a word.
            if self._buffer.find(b"-", self._at) >= 0:
                return False
            self._more()
        if self._buffer[self._at : self._at + len(expected)] != expected:
            return False
        self._at += len(expected)
        return True

    def lines(self, count: int) -> list[bytes]:
        """The next so many lines, for replies of one line each."""
        while True:
            found = bytes(memoryview(self._buffer)[self._at :]).split(b"\r\n", count)
            if len(found) > count:
                self._at = len(self._buffer) - len(found.pop())
                return found
            self._more()

    def bulks_and_numbers(self, count: int) -> list[tuple[bytes | None, int]]:
        """So many pairs of a string or nothing and a number, as a transaction answers them."""
        pairs: list[tuple[bytes | None, int]] = []
        buffer, at = self._buffer, self._at
        while len(pairs) < count:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                buffer, at = self._go_on(at)
                continue
            size = int(buffer[at + 1 : end])
            stop = end if size < 0 else end + 2 + size
            last = buffer.find(b"\r\n", stop + 2)
            if last < 0:
                buffer, at = self._go_on(at)
                continue
            pairs.append((None if size < 0 else bytes(buffer[end + 2 : stop]), int(buffer[stop + 3 : last])))
            at = last + 2
        self._at = at
        return pairs

    def _go_on(self, at: int) -> tuple[bytearray, int]:
        self._at = at
        self._more()
        return self._buffer, self._at

    def line(self) -> bytes:
        """Up to the end of a line, which is left out."""
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            self._more()
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def byte(self) -> int:
        """One byte, outside any reply."""
        while self._at >= len(self._buffer):
            self._more()
        self._at += 1
        return self._buffer[self._at - 1]

    def unread(self) -> None:
        """Give the last byte back."""
        self._at -= 1

    def readinto(self, buffer: memoryview) -> int:
        """Bytes as they come, outside any reply. Raises `Unavailable` where the connection ends."""
        left = len(self._buffer) - self._at
        if left:
            count = min(left, len(buffer))
            buffer[:count] = self._buffer[self._at : self._at + count]
            self._at += count
            return count
        try:
            received = self._opened().recv_into(buffer)
        except OSError as error:
            raise self._lost(error) from error
        if not received:
            raise self._lost(None)
        return received

    def _take(self, count: int) -> bytes:
        if self._at + count - len(self._buffer) > _PIECE:
            return self._take_large(count)
        while len(self._buffer) < self._at + count + 2:
            self._more()
        taken = bytes(memoryview(self._buffer)[self._at : self._at + count])
        self._at += count + 2
        return taken

    def _take_large(self, count: int) -> bytes:
        taken = bytearray(count + 2)
        with memoryview(taken) as view:
            at = 0
            while at < len(view):
                at += self.readinto(view[at:])
        del taken[count:]
        return bytes(taken)

    def _more(self) -> None:
        try:
            received = self._opened().recv(_PIECE)
        except OSError as error:
            raise self._lost(error) from error
        if not received:
            raise self._lost(None)
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += received

    def _lost(self, error: OSError | None) -> Unavailable:
        self.close()
        if isinstance(error, TimeoutError):
            why = f"said nothing for {_PATIENCE:.0f} s"
        else:
            why = f"ended the connection{f' ({error.strerror or error})' if error else ''}"
        return Unavailable(f"{self.place.shown} {why}: it was stopped, or is overloaded; its log says why")

    def translated(self, error: ErrorReply, what: str) -> BackupError:
        """The server's error as one of ours; `what` was asked of it."""
        place, says = self.place.shown, str(error)
        if error.code in _LATER or "max number of clients" in says:
            return Unavailable(f"{place} can't answer now: {says}")
        if error.code == "OOM":
            return NoSpace(f"{place} has reached its `maxmemory`: {says}; raise it")
        if error.code == "NOAUTH":
            return Refused(f"{place} wants a password: set `password`, or put one into the URL that `url` refers to")
        if error.is_forbidden:
            return Refused(f"{place} does not allow {what}: {says}; give the user that right (ACL SETUSER)")
        return SourceError(f"{place} failed at {what}: {says}")

"""A line to a server, which a test can cut, or let fall silent: a proxy on loopback for one Unix socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PIECE = 1 << 16


class Line:
    """`port` leads to the socket. All methods may be called from any thread."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._loop = asyncio.new_event_loop()
        self._cut = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._joined: set[asyncio.Future[None]] = set()
        self._flows: asyncio.Event
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Every connection is reset, and every new one."""
        self._do(self._set, cut=True, flows=True)

    def silence(self) -> None:
        """Connections stay, and nothing comes through."""
        self._do(self._set, cut=False, flows=False)

    def mend(self) -> None:
        self._do(self._set, cut=False, flows=True)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        self._set(cut=True, flows=True)
        for task in self._joined:
            task.cancel()
        await asyncio.gather(*self._joined, return_exceptions=True)

    def _do(self, what: object, **options: bool) -> None:
        assert callable(what)
        done = threading.Event()

        def work() -> None:
            what(**options)
            done.set()

        self._loop.call_soon_threadsafe(work)
        assert done.wait(10)

    def forget(self) -> None:
        """As a firewall does: nothing ever comes through the connections that there are. New ones are well."""
        self._do(self._forget)

    def _forget(self) -> None:
        self._flows = asyncio.Event()
        self._flows.set()

    def _set(self, *, cut: bool, flows: bool) -> None:
        self._cut = cut
        if flows:
            self._flows.set()
        else:
            self._flows.clear()
        if cut:
            for end in self._ends:
                end.transport.abort()

    async def _listen(self) -> asyncio.Server:
        self._flows = asyncio.Event()

        def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._joined.add(asyncio.ensure_future(self._join(reader, writer)))

        return await asyncio.start_server(join, "127.0.0.1", 0)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flows = self._flows
        try:
            if self._cut:
                raise ConnectionResetError
            there, back = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._ends |= ends
        ways = [asyncio.ensure_future(each) for each in (self._pass(reader, back), self._pass(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if flows is not self._flows:
                await asyncio.sleep(3600)  # forgotten: neither hears that the other has gone
            for end in ends:
                end.close()
            await asyncio.wait([asyncio.ensure_future(end.wait_closed()) for end in ends], timeout=5)
        finally:
            for way in ways:
                way.cancel()
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        flows = self._flows
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                await flows.wait()
                if flows is not self._flows:
                    continue
                target.write(piece)
                await target.drain()


@contextmanager
def line_to(socket: Path) -> Iterator[Line]:
    line = Line(socket)
    line.mend()
    try:
        yield line
    finally:
        line.close()

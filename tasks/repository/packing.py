"""The threads that compress blocks, seal them and append them to packs: one for each core but that of the thread that
brings them, which does the same where they can't keep up.
"""

from __future__ import annotations

import fcntl
import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.cores import cores
from tasks.destinations.destination import Destination
from tasks.destinations.file_errors import explained
from tasks.memory import BUSY, give_back
from tasks.repository import index
from tasks.repository.block import Draft
from tasks.repository.buffers import Buffers
from tasks.repository.keys import RepositoryKeys
from tasks.repository.pack import MOST_CHUNKS, Encoded, PackWriter, SealedPack, object_name
from tasks.repository.sealing import seal

MOST_CHUNKS_AN_INDEX = MOST_CHUNKS
"""With which it is closed, at 2 to 5 MB: who writes an index object, or reads it, holds it in memory several times."""
_MOST_PACKS_AN_INDEX = 4096
_WAITING = 3
_PACKS_AN_INDEX, _CHUNKS_AN_INDEX = 64, MOST_CHUNKS // 2
_SCRATCH = "geometra-packs-"
_NEW_SECONDS = 3600.0
_LOOK_SECONDS = 0.3
"""Between two looks at how much memory there is to be given back."""


class Packing:
    """Takes drafts from one thread; puts packs, and index objects for them, into a destination.

    A pack is put before an index names it. `scratch` is a folder for unfinished packs, best on the destination's own
    disk. Use as a context: on an error nothing unfinished is left behind.
    """

    def __init__(
        self,
        into: Destination,
        scratch: Path,
        keys: RepositoryKeys,
        buffers: Buffers,
    ) -> None:
        self._into, self._scratch, self._keys, self._buffers = into, scratch, keys, buffers
        self._waiting: queue.Queue[Draft | None] = queue.Queue(_WAITING)
        self._lock = threading.Lock()
        self._idle: list[PackWriter] = []
        self._sealed: list[SealedPack] = []
        self._sealed_chunks = 0
        self._error: BaseException | None = None
        self._looked = 0.0
        self.stored_bytes = 0
        self.packs: list[bytes] = []
        count = max(1, cores() - 1)
        self._threads = [threading.Thread(target=self._work, name=f"packing-{at}", daemon=True) for at in range(count)]

    def __enter__(self) -> Packing:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._error = self._error or error
        self._stop()
        for pack in self._idle:
            pack.abandon()

    def submit(self, draft: Draft) -> None:
        """Packs it here and now where enough of them wait. Raises what went wrong with any."""
        try:
            self._waiting.put_nowait(draft)
        except queue.Full:
            self._do(draft)
        if self._error:
            raise self._error
        if len(self._sealed) >= _PACKS_AN_INDEX or self._sealed_chunks >= _CHUNKS_AN_INDEX:
            self._put_index()

    def finish(self) -> None:
        """Everything submitted is stored and indexed on return."""
        with suppress(queue.Empty):
            while draft := self._waiting.get_nowait():
                self._do(draft)
        self._stop()
        if self._error:
            raise self._error
        while self._idle:
            self._put_pack(self._idle.pop())
        self._put_index()

    def _stop(self) -> None:
        if any(thread.is_alive() for thread in self._threads):
            self._waiting.put(None)  # for all: each passes it on
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self) -> None:
        while (draft := self._waiting.get()) is not None:
            self._do(draft)
        self._waiting.put(None)

    def _do(self, draft: Draft) -> None:
        try:
            if not self._error:
                self._pack(draft)
        except BaseException as error:  # raised by the next call of the thread that submits
            self._fail(error)
            if not isinstance(error, Exception):
                raise  # somebody wants this thread to end
        finally:
            draft.release()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._buffers.break_off(error)

    def _pack(self, draft: Draft) -> None:
        data = draft.joined()
        method, encoded = draft.profile.encode(data)
        pack = self._take(draft.kind)
        try:
            with explained("pack into", self._scratch):
                stored = pack.append(Encoded(method, encoded, len(data), bytes(draft.names), draft.lengths))
        except BaseException:
            pack.abandon()
            raise
        with self._lock:
            self.stored_bytes += stored
            if not pack.is_full:
                self._idle.append(pack)
                return
        self._put_pack(pack)

    def _take(self, kind: str) -> PackWriter:
        # Any idle pack of the kind: a small run then fills one pack, however many threads there are.
        with self._lock:
            for at, pack in enumerate(self._idle):
                if pack.kind == kind:
                    return self._idle.pop(at)
        with explained("pack into", self._scratch):
            return PackWriter(self._scratch / f"{os.urandom(8).hex()}.pack", kind, self._keys)

    def _put_pack(self, pack: PackWriter) -> None:
        try:
            with explained("pack into", self._scratch):
                sealed = pack.close()
            self._into.put(object_name(sealed.name), pack.path)
        finally:
            pack.path.unlink(missing_ok=True)
        with self._lock:
            self._sealed.append(sealed)
            self._sealed_chunks += len(sealed.listed.lengths)
            self.packs.append(sealed.name)
            if look := time.monotonic() - self._looked > _LOOK_SECONDS:
                self._looked = time.monotonic()
        if look:
            give_back(BUSY)

    def _put_index(self) -> None:
        with self._lock:
            sealed, self._sealed, self._sealed_chunks = self._sealed, [], 0
        if sealed:
            put_index(self._into, self._keys, sealed)


@contextmanager
def scratch_folder(within: Path | None) -> Iterator[Path]:
    """A folder of its own for unfinished packs, gone afterwards. Raises `NoSpace`, `Refused`, `Unavailable`."""
    below = within or Path(tempfile.gettempdir())
    with explained("pack into", below):
        _sweep(below)
        folder = tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=below)
    with folder as path:
        alive = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError):  # of a share that has no locks nobody takes one
                fcntl.flock(alive, fcntl.LOCK_EX)
            yield Path(path)
        finally:
            os.close(alive)


def _sweep(below: Path) -> None:
    """Remove the folders of processes that were killed: a kill releases their lock. New ones may not have one yet."""
    for path in below.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                about = os.fstat(folder)
                if about.st_uid == os.geteuid() and about.st_mtime < time.time() - _NEW_SECONDS:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(folder)


def put_index(into: Destination, keys: RepositoryKeys, packs: list[SealedPack]) -> str:
    """Store an index object for packs that are stored. Returns its name."""
    name = f"index/{os.urandom(16).hex()}"
    into.put(name, seal(keys.metadata, name, index.encode(packs)))
    return name


def put_indexes(into: Destination, keys: RepositoryKeys, packs: Iterable[SealedPack]) -> None:
    """The same for any number of packs: as many objects as it takes, and never more of it in memory than one."""
    held, chunks = list[SealedPack](), 0
    for pack in packs:
        held.append(pack)
        chunks += len(pack.listed.lengths)
        if chunks >= MOST_CHUNKS_AN_INDEX or len(held) >= _MOST_PACKS_AN_INDEX:
            put_index(into, keys, held)
            held, chunks = [], 0
    if held:
        put_index(into, keys, held)

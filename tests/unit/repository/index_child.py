"""Run as a program by test_index_size.py: loads an index of many chunks, looks all over it, prints what that took."""

from __future__ import annotations

import json
import os
import sys
import time
from array import array
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy

from tasks.destinations import Data, Destination, Listed, Overlay
from tasks.repository import Repository
from tasks.repository.block import TARGET
from tasks.repository.pack import CONTENT, NAME, BlockList, Encoded, SealedPack, header_size, object_name
from tasks.repository.packing import put_index
from tests.memory_source import MemoryCapture
from tests.repositories import START, about, create, local

CHUNKS, BLOCKS = 512, 16
"""Chunks of a block and blocks of a pack: of 4 KiB and 32 MiB."""


class Claimed:
    """A destination that claims to hold packs which were never made: the index is what is measured."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner
        self.sizes: dict[str, int] = {}

    def put(self, name: str, data: Data) -> None:
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        claimed = [Listed(name, size) for name, size in self.sizes.items() if name.startswith(prefix)]
        return iter(sorted([*claimed, *self._inner.list(prefix)]))

    def delete(self, name: str) -> None:
        self._inner.delete(name)


def fill(repository: Repository, claimed: Claimed, chunks: int) -> None:
    made: list[SealedPack] = []
    for _ in range(0, chunks, CHUNKS * BLOCKS):
        listed = BlockList()
        lengths = array("I", [TARGET // CHUNKS]) * CHUNKS
        for _ in range(BLOCKS):
            listed.add(TARGET // 2, Encoded(1, b"", TARGET, os.urandom(CHUNKS * NAME), lengths))
        size = header_size(CONTENT) + BLOCKS * TARGET // 2 + 1000
        made.append(SealedPack(os.urandom(NAME), CONTENT, size, listed))
        claimed.sizes[object_name(made[-1].name)] = size
        if len(made) == 64:
            put_index(claimed, repository.keys, made)
            made.clear()
    put_index(claimed, repository.keys, made)


def memory(what: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def main() -> None:
    verb, chunks, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    claimed = Claimed(local(folder / "there"))
    repository = create(claimed)
    repository.save(MemoryCapture({b"a": b"a"}), about(0), claimed)
    fill(repository, claimed, chunks)
    spool = local(folder / "spool")
    if verb == "upload":
        repository.save(MemoryCapture({b"a": b"a", b"b": b"b"}), about(1), spool)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before, started = memory("VmRSS:"), time.process_time()
    if verb == "load":
        index = repository.whole_index()
        assert index.find(bytes(NAME)) is None
    elif verb == "check":
        assert repository.check("items").good
    elif verb == "prune":
        repository.plan_prune((), START + timedelta(days=1), timedelta(days=3))
    elif verb == "upload":
        spooled = Repository.open(Overlay(spool, claimed), repository.writer)
        assert spooled.copy(about(1).id, Repository.open(claimed, repository.writer))["packs"] == 2
    else:
        repository.save(MemoryCapture({b"a": b"a", b"b": numpy.arange(1 << 18).tobytes()}), about(1), claimed)
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "bytes": memory("VmHWM:") - before}))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()

"""Vectors of many dimensions, and many of them: what they take of memory while they are read."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from pathlib import Path

import chromadb
import numpy as np

from tasks.sources.chroma.hnsw import Hnsw
from tasks.sources.chroma.server import Access, Server
from tests.chroma_process import chroma_server

_DIMENSION, _RECORDS = 3072, 250


def test_long_vectors_are_asked_for_a_few_at_a_time(tmp_path: Path) -> None:
    vectors = np.random.default_rng(7).normal(size=(_RECORDS, _DIMENSION)).astype("f4")
    ids = [f"{at:04d}" for at in range(_RECORDS)]
    with chroma_server(tmp_path / "store") as running:
        made = chromadb.HttpClient("127.0.0.1", running.port).create_collection("long", embedding_function=None)
        made.add(ids=ids, embeddings=vectors)
        with Server(Access(running.url)) as server:
            found = server.find("default_tenant", "default_database", "long")
            assert found
            tracemalloc.start()
            try:
                held = found.fetch(ids)
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert {record.id: vector for record, vector in held} == dict(zip(ids, map(bytes, vectors), strict=True))
    assert most < 30 << 20


def test_an_index_that_was_read_is_no_memory_of_the_process(tmp_path: Path) -> None:
    count, size = 20_000, 4 + 4 * 4 + 4 * 512 + 8
    elements = np.zeros((count, size), "u1")
    elements[:, -8:] = np.arange(count, dtype="<u8")[::-1].copy().view("u1").reshape(count, 8)
    elements[:, 20:24] = np.arange(count, dtype="<f4").view("u1").reshape(count, 4)
    (tmp_path / "data_level0.bin").write_bytes(elements.tobytes())
    (tmp_path / "header.bin").write_bytes(struct.pack("<4x6Q", 0, count, count, size, size - 8, 20))
    (tmp_path / "length.bin").write_bytes(bytes(4 * count))
    (tmp_path / "link_lists.bin").write_bytes(b"")
    labels = {f"{at}": at for at in range(count)}
    (tmp_path / "index_metadata.pickle").write_bytes(pickle.dumps({"id_to_label": labels}, protocol=2))
    index = Hnsw(tmp_path)
    tracemalloc.start()
    try:
        index.check()
        assert index.rows([f"{at}" for at in (0, 7, count - 1)]).tolist() == [count - 1, count - 8, 0]
        assert index.vectors(np.array([3, count - 1, 0]), normalized=False)[:, 0].tolist() == [3, count - 1, 0]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < elements.nbytes // 3
    # A map of the file counts as memory too.
    assert str(tmp_path / "data_level0.bin") not in Path("/proc/self/smaps").read_text()

"""A Chroma of any version from 0.4.15 on: `PYTHON tests/chroma_any_version.py fill|dump|version FOLDER-OR-URL`.

Run by the Python that has that version; it imports nothing else of this project.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb
import numpy as np

COUNT = 1300
"""More than an index takes in before it is written, so that some vectors are in files and some in the queue."""

INCLUDE: Any = ["embeddings", "documents", "metadatas"]


def client_of(where: str) -> Any:
    if where.startswith("http://"):
        host, _, port = where.removeprefix("http://").partition(":")
        return chromadb.HttpClient(host, int(port))
    return chromadb.PersistentClient(where)


def fill(client: Any) -> None:
    for name, space, dimension in (("apples", "l2", 8), ("pears", "cosine", 16), ("plums", "ip", 4)):
        chance = np.random.default_rng(dimension)
        collection = client.create_collection(name, metadata={"hnsw:space": space}, embedding_function=None)

        def vectors(count: int, width: int = dimension, chance: Any = chance) -> Any:
            return chance.normal(size=(count, width)).astype(np.float32).tolist()

        for start in range(0, COUNT, 100):
            some = range(start, start + 100)
            collection.add(
                ids=[f"id-{at:05d}" for at in some],
                embeddings=vectors(100),
                documents=[f"The {at}th text, ünïcode\nand 'quotes' {at}, {at % 7} of them" for at in some],
                metadatas=[{"text": f"t{at}", "number": at, "real": at / 7} for at in some],
            )
        changed = [f"id-{at:05d}" for at in range(0, 300, 5)]
        collection.update(ids=changed, embeddings=vectors(60), documents=[f"changed {each}" for each in changed])
        collection.delete(ids=[f"id-{at:05d}" for at in range(0, COUNT, 9)])
        bare = [f"bare-{at}" for at in range(40)]
        collection.upsert(ids=bare, embeddings=vectors(40), metadatas=[{"number": -1}] * 40)


def dump(client: Any) -> dict[str, Any]:
    """All records, and the ids that a search for words and one by metadata finds."""
    seen: dict[str, Any] = {}
    for name in ("apples", "pears", "plums"):
        collection = client.get_collection(name, embedding_function=None)
        ids = sorted(collection.get(include=[])["ids"])
        rows: dict[str, Any] = {}
        for start in range(0, len(ids), 500):
            got = collection.get(ids=ids[start : start + 500], include=INCLUDE)
            for at, each in enumerate(got["ids"]):
                vector = [float(number) for number in got["embeddings"][at]]
                rows[each] = [vector, got["documents"][at], got["metadatas"][at] or None]
        words = [
            collection.get(where_document={"$contains": what}, include=[])["ids"] for what in ("ünïcode", "ged id")
        ]
        by_number = collection.get(where={"number": {"$lt": 100}}, include=[])["ids"]
        seen[name] = {"rows": rows, "found": [sorted(each) for each in (*words, by_number)]}
    return seen


def main() -> None:
    verb, where = sys.argv[1:]
    if verb == "version":
        sys.stdout.write(chromadb.__version__)
    elif verb == "fill":
        fill(client_of(where))
    else:
        sys.stdout.write(json.dumps(dump(client_of(where))))


if __name__ == "__main__":
    main()

"""Chroma itself, as the application has it: `python tests/chroma_child.py VERB FOLDER-OR-URL ...`.

In a process of its own because SQLite's locks are the process's: two SQLites in one would not see each other's.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb
import numpy as np

INCLUDE: Any = ["embeddings", "documents", "metadatas", "uris"]
SPACES = (("apples", "l2", 8, 2300), ("pears.and-more", "cosine", 16, 1400), ("plums", "ip", 3, 40))


def client_of(folder: str) -> Any:
    if folder.startswith("http://"):
        host, _, port = folder.removeprefix("http://").partition(":")
        return chromadb.HttpClient(host, int(port))
    return chromadb.PersistentClient(folder)


def fill(client: Any, seed: int = 7, scale: float = 1.0) -> None:
    """Several collections with all that Chroma can hold, after adding, updating, replacing and deleting."""
    for name, space, dimension, size in SPACES:
        chance = np.random.default_rng(seed + dimension)
        count = int(size * scale) or 5
        collection = client.create_collection(
            name,
            metadata={"owner": "geometra", "revision": 3, "weight": 0.5, "live": True},
            configuration={"hnsw": {"space": space, "ef_construction": 60}},
            embedding_function=None,
        )
        vectors = chance.normal(size=(count, dimension)).astype(np.float32)
        for start in range(0, count, 500):
            some = range(start, min(start + 500, count))
            collection.add(
                ids=[key(at) for at in some],
                embeddings=vectors[start : start + 500],
                documents=[None if at % 7 == 3 else f"The {at}th text, ünïcode\nand 'quotes' {at}" for at in some],
                metadatas=[given(at) for at in some],
                uris=[f"file:///{at}" if at % 4 == 0 else None for at in some],
            )
        change(collection, count, dimension, chance)
    client.create_collection("empty", embedding_function=None)


def key(at: int) -> str:
    return f"ключ {at}" if at % 50 == 1 else f"id-{at:06d}"


def given(at: int) -> Any:
    if at % 6 == 5:
        return None
    values: dict[str, Any] = {"text": f"t{at}", "number": at, "great": 2**53 + at, "real": at / 7, "whole": float(at)}
    values |= {"yes": at % 2 == 0, "blank": ""}
    return values | {"words": ["b", "a", f"{at}"], "numbers": [3, 1, 2], "reals": [0.5, 1.0], "flags": [True, False]}


def change(collection: Any, count: int, dimension: int, chance: Any) -> None:
    collection.delete(ids=[key(at) for at in range(0, count, 9)])
    some = range(1, count, 9)
    new = chance.normal(size=(len(some), dimension)).astype(np.float32)
    collection.update(
        ids=[key(at) for at in some], embeddings=new, metadatas=[{"number": -at, "later": "x"} for at in some]
    )
    some = range(2, count, 9)
    new = chance.normal(size=(len(some), dimension)).astype(np.float32)
    collection.upsert(ids=[key(at) for at in some], embeddings=new, documents=[f"replaced {at}" for at in some])
    again = range(0, count, 18)
    new = chance.normal(size=(len(again), dimension)).astype(np.float32)
    collection.add(ids=[key(at) for at in again], embeddings=new, documents=["back"] * len(again))


def dump(client: Any) -> dict[str, Any]:
    """Everything that a client sees, vectors bit by bit."""
    seen: dict[str, Any] = {}
    for collection in client.list_collections():
        rows: dict[str, Any] = {}
        ids = sorted(collection.get(include=[])["ids"])
        for start in range(0, len(ids), 1000):
            got = collection.get(ids=ids[start : start + 1000], include=INCLUDE)
            for at, name in enumerate(got["ids"]):
                vector = np.asarray(got["embeddings"][at], np.float32).tobytes().hex()
                rows[name] = [vector, got["documents"][at], got["uris"][at], got["metadatas"][at]]
        assert len(rows) == collection.count()
        configuration = collection.configuration_json["hnsw"]
        seen[collection.name] = {"metadata": collection.metadata, "configuration": configuration, "rows": rows}
    return seen


def answers(client: Any) -> dict[str, Any]:
    """What the indexes say: the nearest of a few stored vectors, and who has some words, some text or some number."""
    said: dict[str, Any] = {}
    for collection in client.list_collections():
        got = collection.get(limit=3, include=["embeddings"])
        if got["ids"]:
            wanted: list[dict[str, Any]] = [
                {"where_document": {"$contains": "th text, ün"}},
                {"where_document": {"$not_contains": "replaced"}},
                {"where": {"text": "t12"}},
                {"where": {"number": {"$lt": 0}}},
            ]
            found = [sorted(collection.get(**each, include=[])["ids"]) for each in wanted]
            said[collection.name] = [collection.query(query_embeddings=got["embeddings"], n_results=4)["ids"], found]
    return said


def write(client: Any, pause: float = 0.0) -> None:
    """Until standard input ends, turn by turn: seven records of `left` get the turn's number, then seven of `right`,
    then the token goes over to the other one. A line on standard output says that it goes on."""
    chance = np.random.default_rng(1)
    options = {"hnsw": {"space": "l2", "sync_threshold": 60, "batch_size": 20}}
    left, right = (
        client.get_or_create_collection(name, configuration=options, embedding_function=None)
        for name in ("left", "right")
    )
    for turn in itertools.count(1):
        numbered = {"turn": turn}
        for collection in (left, right):
            ids = [f"{turn % 97}-{at}" for at in range(7)]
            vectors = chance.normal(size=(7, 32)).astype(np.float32)
            vectors[:, 0] = turn
            collection.upsert(
                ids=ids,
                embeddings=vectors,
                documents=[f"turn {turn}" + ", and so on" * 20] * 7,
                metadatas=[numbered for _ in ids],
            )
        here, there = (left, right) if turn % 2 else (right, left)
        there.upsert(ids=["token"], embeddings=[[float(turn)] * 32], documents=["token"], metadatas=[numbered])
        here.delete(ids=["token"])
        if turn == 30:
            sys.stdout.write("writing\n")
            sys.stdout.flush()
        if turn > 30 and select.select([0], [], [], pause)[0]:
            return


def grow(client: Any, count: int, dimension: int) -> None:
    """One collection as large as asked for, of made-up texts and vectors."""
    collection = client.get_or_create_collection("texts", embedding_function=None)
    for start in range(0, count, 2000):
        collection.add(**made(range(start, min(count, start + 2000)), dimension, seed=start))


def age(client: Any, count: int, dimension: int, seed: int) -> None:
    """A day: a hundredth of the records changes, anywhere: most are written anew, some go, as many come."""
    chance = np.random.default_rng(seed)
    collection = client.get_collection("texts", embedding_function=None)
    there = sorted(int(name.removeprefix("text-")) for name in collection.get(include=[])["ids"])
    some = chance.choice(there, count // 100, replace=False).tolist()
    kept, gone = some[len(some) // 5 :], some[: len(some) // 5]
    collection.upsert(**made(kept, dimension, seed))
    collection.delete(ids=[f"text-{at:07d}" for at in gone])
    collection.add(**made(range(there[-1] + 1, there[-1] + 1 + len(gone)), dimension, seed + 1))


def made(numbers: Any, dimension: int, seed: int) -> dict[str, Any]:
    chance = np.random.default_rng(1_000_000 + seed)
    words = [f"{a}{b}{c}" for a in ("ba", "do", "ge", "li", "mu") for b in ("ra", "no", "te", "vi") for c in "knstr"]
    texts = chance.choice(words, size=(len(numbers), 80))
    vectors = chance.normal(size=(len(numbers), dimension)).astype(np.float32)
    return {
        "ids": [f"text-{at:07d}" for at in numbers],
        "embeddings": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        "documents": [" ".join(row) for row in texts.tolist()],
        "metadatas": [{"source": f"file-{at % 997}.md", "page": int(at % 311), "seed": seed} for at in numbers],
    }


def main() -> None:
    verb, folder = sys.argv[1:3]
    if verb == "fill":
        fill(client_of(folder))
    elif verb == "dump":
        client = client_of(folder)
        sys.stdout.write(json.dumps({"dump": dump(client), "answers": answers(client)}))
    elif verb == "touch":
        client_of(folder).get_collection("apples", embedding_function=None).update(
            ids=["id-000005"], metadatas=[{"number": time.time_ns()}]
        )
    elif verb == "change":
        client = client_of(folder)
        for name, _, dimension, size in SPACES:
            collection = client.get_collection(name, embedding_function=None)
            change(collection, size, dimension, np.random.default_rng(dimension))
    elif verb == "grow":
        grow(client_of(folder), *map(int, sys.argv[3:]))
    elif verb == "age":
        age(client_of(folder), *map(int, sys.argv[3:]))
    elif verb == "write":
        write(client_of(folder), *map(float, sys.argv[3:]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()

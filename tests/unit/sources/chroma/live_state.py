"""What `tests/chroma_child.py write` leaves behind at any one moment, and what it never does."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tasks.sources.chroma.facts import count
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.stored_folder import StoredFolder

Turns = dict[str, dict[str, int]]


def wrong_with(folder: Path) -> str:
    """Why this can't be the folder at any one moment; "" if it can."""
    try:
        with StoredFolder(folder) as stored:
            stored.check()
            turns = {each.about.name: _turns(each) for each in stored.collections()}
    except (NotWhole, sqlite3.Error, OSError) as error:
        return str(error)
    except AssertionError as error:
        return f"torn: {error}"
    return _wrong_moment(turns)


def _turns(collection: Any) -> dict[str, int]:
    """Each record's turn. Vector, document and metadata must be of one turn."""
    turns: dict[str, int] = {}
    for batch in collection.batches():
        for record, vector in zip(batch.records, batch.vectors, strict=True):
            turn = record.metadata["turn"]
            assert turn == int(vector[0]), f"{record.id} has the metadata of {turn} and the vector of {vector[0]}"
            assert record.document.startswith((f"turn {turn},", "token")), f"{record.id} has another document"
            turns[record.id] = turn
    assert not collection.without_vector, f"without a vector: {collection.without_vector}"
    assert not collection.without_record, f"{collection.without_record} vectors of no record"
    assert count(collection).records == len(turns)
    return turns


def _wrong_moment(turns: Turns) -> str:
    """The writer does one thing after the other, so what it has done so far is a first part of that, with no gap."""
    left, right = turns["left"], turns["right"]
    tokens = {name: rows.pop("token", 0) for name, rows in (("left", left), ("right", right))}
    newest_left, newest_right = max(left.values()), max(right.values())
    for rows, newest in ((left, newest_left), (right, newest_right)):
        whole = {f"{turn % 97}-{at}": turn for turn in range(max(1, newest - 96), newest + 1) for at in range(7)}
        if rows != whole:
            return f"the records are not those after turn {newest}"
    if newest_left - newest_right not in (0, 1):
        return f"`left` is at turn {newest_left}, `right` at {newest_right}"
    token = max(tokens.values())
    # It may be under way: in both, as of two turns that follow each other. Never in neither, nor twice otherwise.
    if sorted(tokens.values()) not in ([0, token], [token - 1, token]):
        return f"the token is at {tokens}"
    if token not in (newest_right, newest_right - 1) or (newest_left > newest_right and token != newest_right):
        return f"the token is of turn {token}, the records of {newest_left} and {newest_right}"
    return ""

"""The table of ids of a Chroma of version 1.0 or later, which is read without being held."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.sources.chroma.pickled import _unpickled, check_written, persisted
from tasks.sources.chroma.records import NotWhole

_BATCH = 1000


def as_chroma_writes(held: Mapping[Any, Any]) -> bytes:
    """As the serde-pickle of its Rust does."""
    return b"\x80\x03" + _dict(held) + b"."


def _dict(held: Mapping[Any, Any]) -> bytes:
    pairs = [_value(key) + _value(value) for key, value in held.items()]
    batches = [b"".join(pairs[start : start + _BATCH]) for start in range(0, len(pairs), _BATCH)]
    return b"}" + b"".join(b"(" + batch + b"u" for batch in batches)


def _value(value: Mapping[Any, Any] | str | int | None) -> bytes:
    if isinstance(value, Mapping):
        return _dict(value)
    if value is None:
        return b"N"
    if isinstance(value, str):
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
    if -(2**31) <= value < 2**31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def table(labels: Mapping[str, int]) -> bytes:
    held = {"dimensionality": None, "total_elements_added": len(labels), "max_seq_id": 2**40 + 7}
    other = {"id_to_label": labels, "label_to_id": {label: name for name, label in labels.items()}, "id_to_seq_id": {}}
    return as_chroma_writes(held | other)


LABELS = {f"{number} \n{chr(number)}" * (number % 7 * 50): number << number % 40 for number in range(1, 3000)}


@pytest.mark.parametrize("labels", [LABELS, {}, {"one": 1}], ids=["many", "none", "one"])
def test_it_is_read_as_pickle_reads_it(labels: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "index_metadata.pickle"
    path.write_bytes(table(labels) + b"of an older one")
    found = persisted(path)
    assert dict(found.labels) == labels == _unpickled(path)["id_to_label"]
    assert (len(found.labels), found.taken) == (len(labels), 2**40 + 7)
    assert found.labels.find([*labels, "none of them"]) == [*labels.values(), -1]
    few = list(labels)[::100]
    assert found.labels.find([*few, "none of them"]) == [*(labels[name] for name in few), -1]


def test_whatever_is_damaged_is_read_as_pickle_reads_it_or_not_at_all(tmp_path: Path) -> None:
    whole, chance = table({f"id-{number}": number for number in range(40)}), random.Random(5)
    path = tmp_path / "index_metadata.pickle"
    refused = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.choice([chance.randrange(256), *b"}(u.XJKMN\x8a\x80"])
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        try:
            found = dict(persisted(path).labels)
        except NotWhole:
            refused += 1
            continue
        assert found == _unpickled(path)["id_to_label"]
        check_written(path)
    assert 500 < refused < 2900


def test_a_table_takes_no_memory_however_long(tmp_path: Path) -> None:
    path = tmp_path / "index_metadata.pickle"
    count = 60_000
    path.write_bytes(table({f"{number:036d}": number for number in range(count)}))
    tracemalloc.start()
    try:
        found = persisted(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.labels) == count
    assert most < count * 8


def test_a_table_that_is_still_being_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "index_metadata.pickle"
    whole = table({f"id-{number}": number for number in range(3000)})
    path.write_bytes(whole)
    check_written(path)
    for end in random.Random(5).sample(range(len(whole)), 200):
        path.write_bytes(whole[:end])
        with pytest.raises(NotWhole):
            check_written(path)

"""Chroma's `index_metadata.pickle`, read without running anything that a pickle may ask for, nor giving it more memory
than it has bytes for."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import pickletools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tasks.sources.chroma.labels import Labels
from tasks.sources.chroma.plain_pickle import BEGINNING, END, Otherwise, pairs
from tasks.sources.chroma.records import NotWhole

_CLASS = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")
"""What Python versions of Chroma pickle; the Rust ones, 1.0 and later, pickle a plain dict."""

_REFUSED = frozenset({"PUT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"})
"""Chroma's has none of them: the first takes as much memory as it says, and the hash of the others, one in the other,
ends the process where there are a million."""
_LONG_PUT, _STOP = ord("r"), ord(".")
_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_ARGUMENTS = {
    ord(each.code): each.arg.n if each.arg else 0 for each in pickletools.opcodes if each.name not in _REFUSED
}
_TWO_LINES = frozenset(map(ord, "ci"))


_TABLE, _TAKEN = "id_to_label", "max_seq_id"


class Persisted(NamedTuple):
    """The label of each id in an index, and the last number of the queue that is in it, as far as this version says it
    here: 0.4 and the first of 0.5 say it nowhere else."""

    labels: Labels
    taken: int


class _PersistentData:
    """Stands in for Chroma's class: holds attributes, does nothing."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _CLASS:
            return _PersistentData
        raise pickle.UnpicklingError(f"it names `{module}.{name}`, which is not called")


def persisted(path: Path) -> Persisted:
    """Raises `NotWhole`, `NoSpace`, `OSError`."""
    with suppress(Otherwise):
        values: dict[str, Any] = {}
        labels = Labels(_plain(path, values))
        return Persisted(labels, _number(values))
    attributes = _unpickled(path)
    return Persisted(Labels(attributes[_TABLE].items()), _number(attributes))


def check_written(path: Path) -> None:
    """Raises `NotWhole` where it was not written to its end. What else may be wrong with it, `persisted` tells."""
    with path.open("rb") as file:
        start, size = file.read(len(BEGINNING)), file.seek(0, os.SEEK_END)
        file.seek(max(size - len(END), 0))
        if start != BEGINNING or file.read() != END:
            _unpickled(path)


def _plain(path: Path, values: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Raises `Otherwise` for what is to be unpickled, as it was not written by Chroma 1.0 or later, or is damaged."""
    with path.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from pairs(data, _TABLE, values)
        except (IndexError, ValueError) as error:
            raise Otherwise from error
    if _TABLE not in values:
        raise Otherwise


def _number(values: Mapping[str, Any]) -> int:
    taken = values.get(_TAKEN)
    return taken if isinstance(taken, int) else 0


def _unpickled(path: Path) -> dict[str, Any]:
    """What it holds by name, the table of ids among it."""
    try:
        data = path.read_bytes()
        _check(data)
        held = _Unpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise NotWhole(f"`{path.name}` can't be read: {error}") from error
    except (UnicodeDecodeError, MemoryError, OverflowError, ImportError) as error:
        raise NotWhole(f"`{path.name}` can't be read: {type(error).__name__}") from error
    attributes = held if isinstance(held, dict) else vars(held) if isinstance(held, _PersistentData) else {}
    labels = attributes.get(_TABLE)
    if not isinstance(labels, dict) or not all(
        isinstance(name, str) and isinstance(label, int) for name, label in labels.items()
    ):
        raise NotWhole(f"`{path.name}` holds no table of ids")
    return attributes


def _check(data: bytes) -> None:
    """Raises `UnpicklingError` for what may take more than some bytes for each of its own; what it lacks, or has no
    sense, shows when it is read. Goes by `pickletools`, without the objects that its own way makes of each step."""
    at, end, code = 0, len(data), 0
    while at < end and code != _STOP:
        code = data[at]
        argument = _ARGUMENTS.get(code)
        at += 1
        if argument is None:
            raise pickle.UnpicklingError(f"it holds the step {code:#x}, which Chroma's never does")
        if argument >= 0:
            if code == _LONG_PUT and int.from_bytes(data[at : at + argument], "little") > end:
                raise pickle.UnpicklingError("it counts more objects than it has bytes")
            at += argument
        elif argument == pickletools.UP_TO_NEWLINE:
            for _ in range(2 if code in _TWO_LINES else 1):
                at = data.index(b"\n", at) + 1
        else:
            width = _SIZES[argument]
            at += width + int.from_bytes(data[at : at + width], "little")

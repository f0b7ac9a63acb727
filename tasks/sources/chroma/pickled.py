"""Chroma's `index_metadata.pickle`, read without running anything that a pickle may ask for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from tasks.sources.chroma.records import NotWhole

_CLASS = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")
"""What Python versions of Chroma pickle; the Rust ones, 1.0 and later, pickle a plain dict."""


class _PersistentData:
    """Stands in for Chroma's class: holds attributes, does nothing."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _CLASS:
            return _PersistentData
        raise pickle.UnpicklingError(f"it names `{module}.{name}`, which is not called")


def labels_of(path: Path) -> dict[str, int]:
    """The label of each id in the index. Raises `NotWhole`, `OSError`."""
    try:
        held = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise NotWhole(f"`{path.name}` can't be read: {error}") from error
    except (UnicodeDecodeError, MemoryError, OverflowError, ImportError) as error:
        raise NotWhole(f"`{path.name}` can't be read: {type(error).__name__}") from error
    attributes = held if isinstance(held, dict) else vars(held) if isinstance(held, _PersistentData) else {}
    labels = attributes.get("id_to_label")
    if not isinstance(labels, dict) or not all(
        isinstance(name, str) and isinstance(label, int) for name, label in labels.items()
    ):
        raise NotWhole(f"`{path.name}` holds no table of ids")
    return labels

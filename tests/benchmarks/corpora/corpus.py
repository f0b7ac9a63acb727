"""The table of what is backed up: one file per corpus, seeded, made on the spot, changed the same way each time."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.benchmarks.corpora import logs, models, page_database, source_tree, tiny_files, vector_index, words


class Corpus(NamedTuple):
    """`kind` is the kind of source that the product would be configured with for it."""

    name: str
    title: str
    kind: str
    module: ModuleType

    def base(self, scratch: Path, scale: float, seed: int) -> Path:
        """The folder of its first state; made once per scale, seed and version of the code that makes it."""
        code = "".join(inspect.getsource(module) for module in (self.module, words))
        version = hashlib.sha256(code.encode()).hexdigest()[:10]
        folder = scratch / "corpora" / f"{self.name}-{scale:g}-{seed}-{version}"
        made = folder.with_name(folder.name + ".made")
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make: Callable[[Path, float, int], None] = self.module.make
            make(folder, scale, seed)
            made.touch()
        return folder

    def change(self, folder: Path, scale: float, seed: int) -> None:
        change: Callable[[Path, float, int], None] = self.module.change
        change(folder, scale, seed)


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("models", "models, 2 GB of float weights", "models", models),
        Corpus("logs", "logs, 500 MB", "logs", logs),
        Corpus("source-tree", "source tree, 20,000 small files", "test_data", source_tree),
        Corpus("page-database", "page database (SQLite), 425 MB", "test_data", page_database),
        Corpus("vector-index", "vector index (HNSW), 168 MB", "docs", vector_index),
        Corpus("tiny-files", "200,000 tiny files", "test_data", tiny_files),
    )
}

"""What an export in a folder holds, record by record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.sources.chroma.columns import Columns
from tasks.sources.chroma.records import Record


def rows_of(folder: Path, name: str) -> list[tuple[Record, Any]]:
    [place] = folder.glob(f"collections/*/*/{name}")
    columns = Columns(lambda file: open(place / file, "rb"))  # noqa: SIM115 - the reader closes it
    return [pair for batch in columns.batches() for pair in zip(batch.records, batch.vectors, strict=True)]

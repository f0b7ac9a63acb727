"""An export that lies in a folder, counted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from tasks.errors import SourceError
from tasks.item import Facts
from tasks.sources.chroma.columns import ABOUT, Columns, File
from tasks.sources.chroma.export_capture import COLLECTIONS, SERVER
from tasks.sources.chroma.facts import count
from tasks.sources.chroma.records import NotWhole


def exported_facts(folder: Path) -> Facts:
    """The facts of an export that lies in a folder. Raises `SourceError` where it is not whole."""
    facts: Facts = {}
    labels: list[str] = []
    records = 0
    try:
        about = json.loads((folder / SERVER).read_bytes())
        for path in sorted((folder / COLLECTIONS).glob(f"*/*/*/{ABOUT}")):
            counting = count(Columns(partial(_open, path.parent)))
            labels.append(counting.about.label)
            records += counting.records
            facts |= counting.facts()
    except (OSError, ValueError, NotWhole) as error:
        raise SourceError(f"the restored copy in `{folder}` is not whole: {error}") from error
    if sorted(labels) != about["collections"]:
        raise SourceError(f"the restored copy in `{folder}` has not the collections that `{SERVER}` names")
    return facts | {"collections": sorted(labels), "records": records, "version": about["version"]}


def _open(folder: Path, name: str) -> File:
    return open(folder / name, "rb")

"""An export that lies in a folder, counted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from tasks.errors import Damaged, SourceError
from tasks.item import Facts, StoredItems
from tasks.sources.chroma.columns import ABOUT, Columns, File
from tasks.sources.chroma.export_capture import COLLECTIONS, SERVER
from tasks.sources.chroma.facts import count
from tasks.sources.chroma.records import NotWhole

_PIECE = 1 << 16


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


def exported_tenants(items: StoredItems) -> list[str]:
    """Those that were taken. Raises `Damaged`."""
    server = next(item for item in items if item.entry.path == SERVER.encode())
    stream, content, buffer = items.open(server), bytearray(), memoryview(bytearray(_PIECE))
    try:
        while count := stream.readinto(buffer):
            content += buffer[:count]
        return list(json.loads(content)["databases"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"`{SERVER}` is not as it was written") from error
    finally:
        stream.close()


def _open(folder: Path, name: str) -> File:
    return open(folder / name, "rb")

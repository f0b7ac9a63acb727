"""How bytes are stored: FORMAT.md. What is public is named here; it knows destinations, and no sources."""

from __future__ import annotations

from tasks.repository.check import CheckReport, Damage, Scope
from tasks.repository.keys import ReaderKey, WriterKey, create_keys, open_keys
from tasks.repository.parts import Part, Whole
from tasks.repository.proof import Proof, is_proven, last_good
from tasks.repository.pruning import PrunePlan
from tasks.repository.reading import Items
from tasks.repository.repository import Repository
from tasks.repository.snapshot import CLOCKS_DIFFER, About, Flawed, Snapshot, is_ahead, snapshot_id

__all__ = [
    "CLOCKS_DIFFER",
    "About",
    "CheckReport",
    "Damage",
    "Flawed",
    "Items",
    "Part",
    "Proof",
    "PrunePlan",
    "ReaderKey",
    "Repository",
    "Scope",
    "Snapshot",
    "Whole",
    "WriterKey",
    "create_keys",
    "is_ahead",
    "is_proven",
    "last_good",
    "open_keys",
    "snapshot_id",
]

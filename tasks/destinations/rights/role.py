"""Who does what at a destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["writer", "pruner", "reader"]

DOES: dict[str, str] = {
    "writer": "captures and uploads; creates, reads and lists, and can neither overwrite nor delete",
    "pruner": "verifies, prunes and renews locks; the only one that may delete",
    "reader": "restores; reads and lists",
}


@dataclass(frozen=True, slots=True)
class Rights:
    """`document` is what the service's own tool takes, None where it takes none; `commands` give the rights, in order;
    `notes` say what else to know, a sentence each."""

    role: Role
    commands: tuple[str, ...]
    notes: tuple[str, ...]
    document: dict[str, Any] | None = None

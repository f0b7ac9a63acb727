"""What one step came to. The only thing that crosses the broker, as JSON: names and figures, never secrets or data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tasks.errors import BackupError

State = Literal["done", "incomplete", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it crosses the broker: its stable kind and its one line for a person."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step's result.

    `state`: *done*; *incomplete* (stored, but `flaws` names what is partial, vanished or unreadable); *failed* (see
    `failure`); *skipped* (an earlier step of the chain failed). `figures` are plain numbers whose names carry their
    unit (`read_bytes`, `seconds`). `flaws` is cut to the first hundred; `figures["flaws"]` counts all. `part` is the
    number of what several workers share a step by; empty for the step itself. `host` did it.
    """

    verb: str
    source: str = ""
    destination: str = ""
    run: str = ""
    snapshot: str = ""
    state: State = "done"
    figures: dict[str, float] = field(default_factory=dict)
    flaws: tuple[str, ...] = ()
    failure: Failure | None = None
    part: str = ""
    host: str = ""

    @property
    def good(self) -> bool:
        return self.state == "done"

    @property
    def usable(self) -> bool:
        """True if the next step of the chain has something to work on."""
        return self.state in ("done", "incomplete")

    def failed(self, error: BackupError) -> Outcome:
        return replace(self, state="failed", failure=Failure(error.kind, str(error)))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        failure = data.get("failure")
        known = {name: data[name] for name in cls.__slots__ if name in data}
        known["flaws"] = tuple(data.get("flaws", ()))
        known["failure"] = Failure(**failure) if failure else None
        return cls(**known)

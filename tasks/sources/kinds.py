"""The kinds of sources, one line each."""

from __future__ import annotations

from typing import Any, Protocol

from tasks.settings import SourceSettings
from tasks.sources.chromadb import Chroma
from tasks.sources.config import Config
from tasks.sources.docs import Docs
from tasks.sources.logs import Logs
from tasks.sources.models import Models
from tasks.sources.postgres import Postgres
from tasks.sources.redis import Redis
from tasks.sources.source import Source
from tasks.sources.source_code import SourceCode
from tasks.sources.test_data import TestData


class Kind(Protocol):
    """A class that is a `Source`: called with the source's name and its validated settings."""

    @property
    def Settings(self) -> type[SourceSettings]: ...  # noqa: N802, the classes' own name for it

    def __call__(self, name: str, settings: Any, /) -> Source: ...


SOURCES: dict[str, Kind] = {
    "redis": Redis,
    "postgres": Postgres,
    "chroma": Chroma,
    "config": Config,
    "logs": Logs,
    "models": Models,
    "source_code": SourceCode,
    "docs": Docs,
    "test_data": TestData,
}

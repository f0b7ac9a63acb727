"""The kinds that backup.toml can name, each with the class of its options."""

from __future__ import annotations

from tasks.destinations import DESTINATIONS
from tasks.settings import DestinationSettings, SourceSettings
from tasks.sources.kinds import SOURCES


def source_kinds() -> dict[str, type[SourceSettings]]:
    return {kind: source.Settings for kind, source in SOURCES.items()}


def destination_kinds() -> dict[str, type[DestinationSettings]]:
    return {kind: destination.Settings for kind, destination in DESTINATIONS.items()}

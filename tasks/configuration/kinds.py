"""The kinds that backup.toml can name, each with the class of its options; and those that can go back into a server."""

from __future__ import annotations

from tasks.destinations import DESTINATIONS
from tasks.settings import DestinationSettings, SourceSettings, TargetSettings
from tasks.sources.kinds import SOURCES


def source_kinds() -> dict[str, type[SourceSettings]]:
    return {kind: source.Settings for kind, source in SOURCES.items()}


def destination_kinds() -> dict[str, type[DestinationSettings]]:
    return {kind: destination.Settings for kind, destination in DESTINATIONS.items()}


def target_kinds() -> dict[str, type[TargetSettings]]:
    """The options of a restore into a server, for the kinds that live in one."""
    found = {kind: getattr(source, "Target", None) for kind, source in SOURCES.items()}
    return {kind: target for kind, target in found.items() if target is not None}

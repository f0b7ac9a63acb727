"""Where snapshots are kept. A new kind of destination is one file here and one line in the table."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, cast

from tasks.destinations.azure import Azure
from tasks.destinations.destination import Data, Destination, Listed
from tasks.destinations.gcs import Gcs
from tasks.destinations.local import Local
from tasks.destinations.overlay import Overlay
from tasks.destinations.prefixed import Prefixed
from tasks.destinations.remote import Paged, RemoteSettings
from tasks.destinations.s3 import S3
from tasks.errors import SettingsError
from tasks.settings import DestinationSettings


class KindOfDestination(Destination, Protocol):
    """A destination that backup.toml can name. Its file imports an SDK on first use, not when it is imported: reading
    a configuration must neither need nor load the SDKs of all clouds."""

    Settings: ClassVar[type[Any]]
    """Its options, a subclass of `DestinationSettings`."""

    def __init__(self, settings: Any) -> None: ...


DESTINATIONS: dict[str, type[KindOfDestination]] = {
    "azure": Azure,
    "gcs": Gcs,
    "local": Local,
    "s3": S3,
}


def open_destination(settings: DestinationSettings) -> Destination:
    """The destination that is configured so. It connects on first use. Raises `SettingsError`."""
    if settings.kind not in DESTINATIONS:
        raise SettingsError(f"`{settings.kind}` is no kind of destination: use one of {', '.join(DESTINATIONS)}")
    kind = DESTINATIONS[settings.kind]
    if not isinstance(settings, RemoteSettings):
        return kind(settings)
    from tasks.destinations.renewing import Renewing
    from tasks.destinations.retrying import Retrying

    destination: Destination = Retrying(Renewing(lambda: cast(Paged, kind(settings)), settings), settings)
    return Prefixed(destination, settings.prefix) if settings.prefix else destination


__all__ = [
    "DESTINATIONS",
    "Data",
    "Destination",
    "KindOfDestination",
    "Listed",
    "Local",
    "Overlay",
    "Prefixed",
    "open_destination",
]

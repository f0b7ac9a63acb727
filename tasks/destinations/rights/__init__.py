"""The least that each role needs at a destination, in the words of its service, and what to type to give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from tasks.destinations.rights.azure import azure_rights
from tasks.destinations.rights.gcs import gcs_rights
from tasks.destinations.rights.local import local_rights
from tasks.destinations.rights.role import Rights, Role
from tasks.destinations.rights.s3 import s3_rights
from tasks.errors import NotFound
from tasks.settings import DestinationSettings

ROLES: tuple[Role, ...] = get_args(Role)
_RIGHTS: dict[str, Callable[[str, Any, Role], Rights]] = {
    "azure": azure_rights,
    "gcs": gcs_rights,
    "local": local_rights,
    "s3": s3_rights,
}


def rights(name: str, settings: DestinationSettings, role: Role) -> Rights:
    """Of a role at the destination of that name. Raises `NotFound` for a kind that has none."""
    if settings.kind not in _RIGHTS:
        raise NotFound(f"`{name}` is of kind `{settings.kind}`, for which no rights are known")
    return _RIGHTS[settings.kind](name, settings, role)


__all__ = ["ROLES", "Rights", "Role", "rights"]

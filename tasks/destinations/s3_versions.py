"""How listings of versions in S3 go on from page to page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.errors import Refused


def following(page: Mapping[str, Any], after: Mapping[str, str], where: str) -> dict[str, str] | None:
    """What to ask by for the page that follows one that was asked for by `after`; None where that was the last. Raises
    `Refused` where it does not say."""
    if not page["IsTruncated"]:
        return None
    # Between two objects some services name no version.
    told = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
    markers = {name: marker for name, marker in told.items() if marker}
    if "KeyMarker" not in markers or markers == after:
        raise Refused(f"{where} says that more versions follow, and not how to go on, so no listing of them is whole")
    return markers

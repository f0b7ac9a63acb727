"""Answers that are not the cloud's: of a network for guests, which has one page for all that is asked, of a proxy that
does not find where to go, of a cache that gives another part. None of them is a success, an object, or the lack of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

UNREADABLE = (LookupError, TypeError, AttributeError, ValueError)
"""What the SDKs trip with over an answer that lacks what the documents promise, or has something else there."""


class Foreign(Exception):
    """Something on the way answered in the service's place, or changed its answer. To be told as *unavailable*."""


def check_marks(headers: Iterable[str], marks: tuple[str, ...], status: int) -> None:
    """Raises `Foreign` where no header of an answer begins as some of all that the service gives do."""
    if not any(name.lower().startswith(marks) for name in headers):
        raise Foreign(f"something on the way answered for it (status {status})")


def check_span(content_range: str | None, offset: int, count: int) -> int:
    """The size of the whole of which these many bytes from `offset` came. Raises `Foreign` where the answer says that
    they are others, or nothing."""
    # Azurite lets what is empty end before it begins.
    span = re.fullmatch(r"bytes (\d+)-(-?\d+)/(\d+)", content_range or "")
    if not span or (int(span[1]), int(span[2])) != (offset, offset + count - 1):
        raise Foreign(f"it came without its range, or with another ({content_range}): something on the way changed it")
    return int(span[3])


def kept_with(metadata: Mapping[str, str], name: str) -> str | None:
    """What was kept beside an object under that name, in whatever case a proxy sends it."""
    return {each.lower(): value for each, value in metadata.items()}.get(name)

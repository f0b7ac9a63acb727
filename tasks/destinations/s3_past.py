"""A bucket of S3 as it was: where objects have versions, what somebody hid or wrote over since is still to be had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.destinations.destination import Listed
from tasks.destinations.per_process import PerProcess
from tasks.destinations.s3_versions import following
from tasks.errors import Missing, Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class _Version(NamedTuple):
    id: str
    size: int


class _Read:
    """What was read of a bucket's versions so far. Of each name, whichever came last before the moment: a version, or a
    mark that there is none any more. `after`: what to ask by for the next page; None where all are read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.after: dict[str, str] | None = {}
        self.newest: dict[str, tuple[datetime, _Version | None]] = {}
        self.objects: dict[str, _Version] = {}


class S3Past:
    """Which version of each object below a prefix was the one at a moment. Read once for each process, where a page
    failed from that one on: some 200 bytes of memory an object."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        moment: datetime,
        *,
        where: str,
        client: Callable[[], S3Client],
        explained: Callable[[str, str], Any],
    ) -> None:
        self._client, self._bucket, self._explained = client, bucket, explained
        self._prefix, self._moment = f"{prefix}/" if prefix else "", moment.astimezone(UTC)
        self._where = where
        self._read = PerProcess(_Read)

    def named(self, name: str) -> dict[str, Any]:
        """What a request for an object adds. Raises `Missing` where there was none."""
        found = self._objects().get(name)
        if found is None:
            raise Missing(f"`{name}` was not there at {self._moment:%Y-%m-%d %H:%M} UTC, which `as_of` asks for")
        return {"VersionId": found.id}

    def list(self, prefix: str) -> Iterator[Listed]:
        objects = self._objects()
        return (Listed(name, objects[name].size) for name in sorted(objects) if name.startswith(prefix))

    def refused(self, verb: str, name: str) -> Refused:
        return Refused(f"can't {verb} `{name}`: `as_of` shows what was there at a moment; without it, that can be done")

    def _objects(self) -> dict[str, _Version]:
        read = self._read()
        with read.lock:
            while read.after is not None:
                self._read_page(read, read.after)
            return read.objects

    def _read_page(self, read: _Read, after: Any) -> None:
        with self._explained("list versions of", self._prefix):
            page = self._client().list_object_versions(Bucket=self._bucket, Prefix=self._prefix, **after)
            found: list[Any] = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            for each in found:
                when = each["LastModified"].astimezone(UTC)
                known = read.newest.get(each["Key"])
                if when <= self._moment and (known is None or when > known[0]):
                    version = _Version(each["VersionId"], each["Size"]) if "Size" in each else None
                    read.newest[each["Key"]] = (when, version)
        read.after = following(page, after, self._where)
        if read.after is None:
            read.objects = {name: version for name, (_, version) in read.newest.items() if version}
            read.newest.clear()

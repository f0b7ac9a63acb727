"""Object lock in S3: what a request says to lock, what a lock tells, and deleting where every object has versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.destinations.immutable import Terms, in_seconds
from tasks.destinations.s3_versions import following
from tasks.errors import Locked, Missing, Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NO_LOCKS = {"InvalidRequest", "ObjectLockConfigurationNotFoundError", "InvalidBucketState"}


def set_up(bucket: str) -> str:
    """What to type so that a bucket can lock, in one line."""
    return (
        f"`aws s3api create-bucket --bucket NAME --object-lock-enabled-for-bucket` makes one that does; for this one:"
        f" `aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled` and `aws s3api"
        f" put-object-lock-configuration --bucket {bucket} --object-lock-configuration ObjectLockEnabled=Enabled`"
    )


class _Version(NamedTuple):
    id: str
    is_marker: bool


class S3Lock:
    """`explained` is the translation of errors that `S3` uses; a client is given to each call, for it belongs to a
    process."""

    def __init__(self, bucket: str, where: str, terms: Terms, explained: Callable[[str, str], Any]) -> None:
        self._bucket, self._where, self._explained = bucket, where, explained
        self.terms = terms
        self._mode: Any = "GOVERNANCE" if terms.trial else "COMPLIANCE"

    def headers(self, name: str) -> dict[str, Any]:
        """What a request that creates an object adds, so that it is locked from its first moment."""
        until = self.terms.until(name)
        return {} if until is None else {"ObjectLockMode": self._mode, "ObjectLockRetainUntilDate": until}

    @contextmanager
    def told(self) -> Iterator[None]:
        """Around what sets a lock: where a bucket is not made for it, the error says what to do."""
        from botocore.exceptions import ClientError

        try:
            yield
        except Refused as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") in _NO_LOCKS:
                raise Refused(
                    f"{self._where} is not made to lock what it stores, as `immutable_days` asks for:"
                    f" {set_up(self._bucket)}"
                ) from error
            raise

    def lock(self, client: S3Client, name: str, until: datetime) -> None:
        until = in_seconds(until)
        try:
            with self.told(), self._explained("lock", name):
                client.put_object_retention(
                    Bucket=self._bucket, Key=name, Retention={"Mode": self._mode, "RetainUntilDate": until}
                )
        except Refused:
            # So it is answered too where it would shorten the lock that is there.
            found = self.locked_until(client, name)
            if found is None or found < until:
                raise

    def locked_until(self, client: S3Client, name: str) -> datetime | None:
        return self._locked_until(client, name, {})

    def _locked_until(self, client: S3Client, name: str, version: Any) -> datetime | None:
        with self._explained("look for a lock on", name):
            found = client.head_object(Bucket=self._bucket, Key=name, **version)
        until: datetime | None = found.get("ObjectLockRetainUntilDate")
        return until.astimezone(UTC) if until else None

    def delete(self, client: S3Client, name: str) -> None:
        """Every version of it, for what is only marked as deleted costs as before. Raises `Locked`, and `Missing` where
        no version is left."""
        versions = list(self._versions(client, name))
        if all(version.is_marker for version in versions):
            raise Missing(f"`{name}` is not in {self._where}")
        refused: Refused | None = None
        for version in sorted(versions, key=lambda each: each.is_marker):
            try:
                with self._explained("delete a version of", name):
                    client.delete_object(Bucket=self._bucket, Key=name, VersionId=version.id)
            except Refused as error:
                refused = self._why(client, name, version, error)
        if refused:
            raise refused

    def _why(self, client: S3Client, name: str, version: _Version, error: Refused) -> Refused:
        """A lock and a missing right are answered alike."""
        until = None
        with suppress(Refused, Missing):
            until = None if version.is_marker else self._locked_until(client, name, {"VersionId": version.id})
        if until is None or until <= datetime.now(UTC):
            return error
        return Locked(f"`{name}` in {self._where} is locked until {until:%Y-%m-%d %H:%M} UTC, and is deleted later")

    def _versions(self, client: S3Client, name: str) -> Iterator[_Version]:
        after: Any = {}
        while after is not None:
            with self._explained("list versions of", name):
                page = client.list_object_versions(Bucket=self._bucket, Prefix=name, **after)
            found: list[tuple[Any, bool]] = [(each, False) for each in page.get("Versions", ())]
            found += [(each, True) for each in page.get("DeleteMarkers", ())]
            yield from (_Version(each["VersionId"], marker) for each, marker in found if each["Key"] == name)
            # Versions of longer names, such as those of a folder, follow: they are others.
            if page.get("NextKeyMarker", name) > name:
                return
            after = following(page, after, self._where)

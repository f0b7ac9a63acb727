"""Objects in a container of Azure Blob Storage. With the content and the errors beside it, all that knows
azure-storage-blob."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from tasks.destinations.azure_content import Part, Take, only_of_azure, received, sending
from tasks.destinations.azure_errors import explained, locked
from tasks.destinations.azure_settings import AzureSettings
from tasks.destinations.body import body_of, is_whole
from tasks.destinations.destination import Data, Listed, check_name, check_prefix, check_range
from tasks.destinations.foreign import kept_with
from tasks.destinations.immutable import Terms, in_seconds
from tasks.destinations.pace import Pace
from tasks.destinations.per_process import PerProcess
from tasks.destinations.pouring import poured
from tasks.destinations.remote import CHECKSUM, MIB, WHOLE_BYTES, Page, check_arrived, check_authorities, listed
from tasks.errors import Exists, Missing, Refused, Unavailable

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient, ImmutabilityPolicy

_PART_BYTES = 16 * MIB
_PARTS_AT_ONCE = 4
_CHECKED_BYTES = 4 * MIB
"""The service gives the MD5 of a range up to here."""


class Azure:
    """Create-only by `If-None-Match: *`. The service checks all it is sent by its MD5, and gives that of what it sends;
    whole reads are also checked by a checksum kept beside the blob. What is larger than two packs goes up in parts, of
    which the service drops those that were never put together after a week."""

    Settings: ClassVar[type[AzureSettings]] = AzureSettings

    def __init__(self, settings: AzureSettings) -> None:
        self._settings = settings
        self._container = PerProcess(self._connect)
        self._terms = Terms(settings)
        self._pace = PerProcess(lambda: Pace(settings.bytes_a_second))
        self._where = settings.where

    def put(self, name: str, data: Data) -> None:
        try:
            self._put(name, data)
        except Refused as error:
            # Credentials that may only create are told that they may not overwrite, not that the name is taken.
            if self._is_there(name):
                raise Exists(f"`{name}` is in {self._where} already, and was left as it is") from error
            raise

    def _put(self, name: str, data: Data) -> None:
        blob = self._blob(name)
        until = self._terms.until(name)
        locking = {"immutability_policy": self._policy(until)} if until else {}
        with body_of(data) as body, self._explained("store and lock" if until else "store", name):
            options: Any = {"overwrite": False, "metadata": {CHECKSUM: body.crc32c}, **locking}
            if len(body) <= WHOLE_BYTES:
                blob.upload_blob(b"", **options, **sending(body))
            else:
                options |= {"validate_content": True, "max_concurrency": _PARTS_AT_ONCE}
                blob.upload_blob(body, length=len(body), **options)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if offset < 0 or (length is not None and length <= 0):
            check_range(name, self._kept(name).total, offset, length)
            return b""
        # A part is checked by the MD5 that the service gives for so much, a whole by the checksum kept beside the blob.
        whole = offset == 0 and length is None
        step = WHOLE_BYTES if whole else _CHECKED_BYTES
        first = self._part(name, offset, step if length is None else min(step, length), with_md5=not whole)
        expected = check_range(name, first.total, offset, length)
        contents = [first.content]
        for at in range(step, expected, step):
            part = self._part(name, offset + at, min(step, expected - at), tag=first.tag, with_md5=not whole)
            contents.append(part.content)
        content = b"".join(contents)
        is_right = not whole or is_whole(content, first.checksum)
        check_arrived(name, self._where, len(content), expected, is_right=is_right)
        return content

    def pour(self, name: str, into: BinaryIO) -> None:
        size, checksum = poured((), into)

        def take(read: Callable[[int | None], bytes]) -> int:
            nonlocal size, checksum
            size, checksum = poured(self._pace().pieces(read), into)
            return size

        found = self._part(name, 0, WHOLE_BYTES, with_md5=False, take=take)
        if found.total > WHOLE_BYTES:
            poured([self.get(name)], into)
            return
        is_right = found.checksum in (None, checksum)
        check_arrived(name, self._where, size, found.total, is_right=is_right)

    def _part(
        self, name: str, offset: int, length: int, *, tag: str | None = None, with_md5: bool, take: Take | None = None
    ) -> Part:
        """Without content where it begins at or behind the end."""
        from azure.core.exceptions import HttpResponseError

        with self._explained("read", name):
            try:
                return received(self._blob(name), offset, length, self._pace(), tag=tag, with_md5=with_md5, take=take)
            except HttpResponseError as error:
                if error.status_code != 416:
                    raise
        return self._kept(name)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return listed(self._settings, partial(self.page, check_prefix(prefix)))

    def page(self, prefix: str, after: str | None = None) -> Page:
        with self._explained("list", prefix):
            pages: Any = self._container().list_blobs(name_starts_with=prefix).by_page(after)
            page = [Listed(each.name, each.size) for each in next(pages)]
            return page, pages.continuation_token or None

    def delete(self, name: str) -> None:
        blob = self._blob(name)
        if self.term:
            # Deleting what has versions would only hide it, also where it is locked.
            until = self.locked_until(name)
            if until and until > datetime.now(UTC):
                raise locked(name, self._where, until)
        with self._explained("delete", name):
            blob.delete_blob()
        if self.term:
            self._delete_versions(name)

    @property
    def term(self) -> timedelta | None:
        return self._terms.term

    def lock(self, name: str, until: datetime) -> None:
        until = in_seconds(until)
        try:
            with self._explained("lock", name):
                self._blob(name).set_immutability_policy(self._policy(until))
        except (Refused, Unavailable):
            # So it is answered too where it would shorten the policy that is there.
            found = self.locked_until(name)
            if found is None or found < until:
                raise

    def locked_until(self, name: str) -> datetime | None:
        with self._explained("look for a lock on", name):
            policy = self._blob(name).get_blob_properties().immutability_policy
        until: datetime | None = policy.expiry_time if policy else None
        return until.astimezone(UTC) if until else None

    def _policy(self, until: datetime) -> ImmutabilityPolicy:
        from azure.storage.blob import ImmutabilityPolicy

        return ImmutabilityPolicy(expiry_time=until, policy_mode="Unlocked" if self._terms.trial else "Locked")

    def _delete_versions(self, name: str) -> None:
        with self._explained("delete a version of", name):
            for each in list(self._container().list_blobs(name_starts_with=name, include=["versions"])):
                if each.name == name and each.version_id:
                    self._blob(name).delete_blob(version_id=each.version_id)

    def _kept(self, name: str) -> Part:
        """What is known of it, without its content."""
        with self._explained("read", name):
            found = self._blob(name).get_blob_properties()
            return Part(b"", found.size, kept_with(found.metadata, CHECKSUM), found.etag)

    def _is_there(self, name: str) -> bool:
        try:
            self._kept(name)
        except (Missing, Refused):
            return False
        return True

    def _blob(self, name: str) -> BlobClient:
        return self._container().get_blob_client(check_name(name))

    def _explained(self, verb: str, name: str) -> AbstractContextManager[None]:
        return explained(verb, name, self._settings)

    def _connect(self) -> ContainerClient:
        import requests
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import ContainerClient

        from tasks.destinations.paced_http import mount

        settings = self._settings
        check_authorities(settings.ca_file)
        credential: Any
        if settings.sas:
            credential = AzureSasCredential(settings.sas.read().removeprefix("?"))
        else:
            assert settings.account_key is not None  # noqa: S101 - the settings were checked
            credential = AzureNamedKeyCredential(settings.account, settings.account_key.read())
        session = requests.Session()
        mount(session, self._pace(), settings.connections, settings.ca_file)
        # To the transport, for the client has no use for these beside a transport that it is given.
        connection: Any = {
            "connection_timeout": settings.connect_timeout.total_seconds(),
            "read_timeout": settings.read_timeout.total_seconds(),
        }
        with self._explained("open", ""):
            return ContainerClient(
                settings.url,
                settings.container,
                credential=credential,
                transport=RequestsTransport(session=session, session_owner=False, **connection),
                max_single_put_size=WHOLE_BYTES,
                max_block_size=_PART_BYTES,
                max_single_get_size=WHOLE_BYTES,
                raw_response_hook=only_of_azure,
                # It would send a body that was read to its end; and the service has no other place.
                permit_redirects=False,
                # One place tries again, for all destinations: retrying.py.
                retry_total=0,
                retry_connect=0,
                retry_read=0,
                retry_status=0,
            )

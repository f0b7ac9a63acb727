"""Objects in a bucket of Google Cloud Storage. With the errors beside it, all that knows google-cloud-storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, ClassVar

from tasks.destinations.body import Body, body_of, crc32c
from tasks.destinations.destination import Data, Listed, check_name, check_prefix, check_range, check_size
from tasks.destinations.foreign import check_span
from tasks.destinations.gcs_errors import answered, explained, only_of_google
from tasks.destinations.gcs_session import Sessions
from tasks.destinations.gcs_settings import GcsSettings
from tasks.destinations.immutable import Terms, in_seconds
from tasks.destinations.pace import Pace
from tasks.destinations.per_process import PerProcess
from tasks.destinations.pouring import poured
from tasks.destinations.remote import MIB, Page, bounds, check_arrived, check_authorities, listed
from tasks.errors import Exists, Missing, Refused, SettingsError, Unavailable

_SESSION_BYTES = 8 * MIB
"""What is larger goes up in a session: it costs one request more."""


class Gcs:
    """Create-only by `ifGenerationMatch=0`. The service checks each upload by its CRC32C, and whole reads are checked
    by it. What is larger than 8 MiB, as packs are, goes on where the connection broke; nobody sees any of it before
    all is there, and the service drops after a week what never came to its end."""

    Settings: ClassVar[type[GcsSettings]] = GcsSettings

    def __init__(self, settings: GcsSettings) -> None:
        self._settings = settings
        self._bucket = PerProcess(self._connect)
        self._terms = Terms(settings)
        self._where = settings.where
        self._sessions = PerProcess(Sessions)
        self._pace = PerProcess(lambda: Pace(settings.bytes_a_second))
        self._times = (settings.connect_timeout.total_seconds(), settings.read_timeout.total_seconds())

    def put(self, name: str, data: Data) -> None:
        try:
            self._put(check_name(name), data)
        except Refused as error:
            # Credentials that may only create may be told that they can't overwrite, not that the name is taken.
            if self._is_there(name):
                raise Exists(f"`{name}` is in {self._where} already, and was left as it is") from error
            raise

    def _put(self, name: str, data: Data) -> None:
        until = self._terms.until(name)
        with body_of(data) as body, self._explained("store and lock" if until else "store", name):
            blob = self._bucket().blob(name)
            blob.crc32c = body.crc32c
            if until:
                self._retain(blob, until)
            stored = self._send_in_a_session if len(body) > _SESSION_BYTES else self._send_at_once
            # The name too: unlike elsewhere it is a part of what is sent, and may be damaged on its way.
            if stored(blob, body) != (blob.name, body.crc32c):
                raise Unavailable(f"`{name}` arrived damaged at {self._where}")

    def _send_at_once(self, blob: Any, body: Body) -> tuple[str, str]:
        """The name and the checksum that the service has of it."""
        blob.upload_from_file(
            body,
            size=len(body),
            content_type="application/octet-stream",
            if_generation_match=0,
            checksum="crc32c",
            timeout=self._times,
            retry=None,
        )
        return str(blob.id).partition("/")[2].rpartition("/")[0], str(blob.crc32c)

    def _send_in_a_session(self, blob: Any, body: Body) -> tuple[str, str]:
        def begin() -> str:
            url: str = blob.create_resumable_upload_session(
                content_type="application/octet-stream",
                size=len(body),
                if_generation_match=0,
                checksum=None,
                timeout=self._times,
                retry=None,
            )
            return url

        answer = self._sessions().send(
            self._session(), (blob.name, len(body), blob.crc32c), body, begin, timeout=self._times
        )
        if answer.status_code not in (200, 201):
            raise answered(answer.status_code, answer.text, "store", blob.name, settings=self._settings)
        told = answer.json()
        return str(told.get("name")), str(told.get("crc32c"))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        if offset < 0 or (length is not None and length <= 0):
            check_range(name, self._size(name), offset, length)
            return b""
        first, last = bounds(offset, length)
        whole = first == 0 and last is None
        byte_range = {} if whole else {"Range": f"bytes={first}-{'' if last is None else last}"}
        with self._explained("read", name), self._asked(name, byte_range) as answer:
            if length is None and answer.status_code in (200, 206):
                check_size(name, int(answer.headers.get("Content-Length", 0)))
            content = self._pace().read_all(answer.raw.read)
            if answer.status_code not in (200, 206, 416):
                raise answered(
                    answer.status_code, content.decode(errors="replace"), "read", name, settings=self._settings
                )
            told, total = answer.headers, None
            if answer.status_code != 416:
                stored = told.get("X-Goog-Stored-Content-Length", told.get("Content-Length", -1))
                total = int(stored) if whole else check_span(told.get("Content-Range"), first, len(content))
        if total is None:  # it begins at or behind the end
            total, content = self._size(name), b""
        expected = check_range(name, total, offset, length)
        is_right = not whole or self._is_right(crc32c(content), answer.headers)
        check_arrived(name, self._where, len(content), expected, is_right=is_right)
        return content

    def pour(self, name: str, into: BinaryIO) -> None:
        check_name(name)
        with self._explained("read", name), self._asked(name) as answer:
            if answer.status_code != 200:
                told = self._pace().read_all(answer.raw.read).decode(errors="replace")
                raise answered(answer.status_code, told, "read", name, settings=self._settings)
            check_size(name, int(answer.headers.get("Content-Length", 0)))
            size, checksum = poured(self._pace().pieces(answer.raw.read), into)
        stored = answer.headers.get("X-Goog-Stored-Content-Length", answer.headers.get("Content-Length", -1))
        is_right = self._is_right(checksum, answer.headers)
        check_arrived(name, self._where, size, int(stored), is_right=is_right)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return listed(self._settings, partial(self.page, check_prefix(prefix)))

    def page(self, prefix: str, after: str | None = None) -> Page:
        fields = "kind,items(name,size),nextPageToken"
        with self._explained("list", prefix):
            found = self._bucket().list_blobs(
                prefix=prefix, fields=fields, page_token=after, timeout=self._times, retry=None
            )
            page = [Listed(each.name, each.size) for each in next(found.pages)]
            return page, found.next_page_token or None

    def delete(self, name: str) -> None:
        check_name(name)
        with self._explained("delete", name):
            self._bucket().blob(name).delete(timeout=self._times, retry=None)

    @property
    def term(self) -> timedelta | None:
        return self._terms.term

    def lock(self, name: str, until: datetime) -> None:
        until = in_seconds(until)
        try:
            with self._explained("lock", name):
                blob = self._bucket().blob(check_name(name))
                self._retain(blob, until)
                blob.patch(timeout=self._times, retry=None)
        except Refused:
            # So it is answered too where it would shorten the retention that is there.
            found = self.locked_until(name)
            if found is None or found < until:
                raise

    def locked_until(self, name: str) -> datetime | None:
        with self._explained("look for a lock on", name):
            blob = self._bucket().blob(check_name(name))
            blob.reload(timeout=self._times, retry=None)
            ends = (blob.retention.retain_until_time, blob.retention_expiration_time)
        return max((end.astimezone(UTC) for end in ends if end), default=None)

    def _retain(self, blob: Any, until: datetime) -> None:
        blob.retention.mode = "Unlocked" if self._terms.trial else "Locked"
        blob.retention.retain_until_time = until

    def _asked(self, name: str, headers: Mapping[str, str] | None = None) -> Any:
        """The media itself, by the SDK's own session: its downloads tell neither the size nor the metadata of what they
        read a part of. As a stream, for what requests reads by itself is held twice."""
        return self._session().get(
            self._address(name) + "?alt=media",
            headers={**(headers or {}), "Accept-Encoding": "identity"},
            timeout=self._times,
            stream=True,
            allow_redirects=False,
        )

    @staticmethod
    def _is_right(checksum: str, headers: Mapping[str, str]) -> bool:
        """By the service's own checksum, unless something on the way drops that."""
        hashes = headers.get("X-Goog-Hash", "")
        return "crc32c=" not in hashes or f"crc32c={checksum}" in hashes

    def _size(self, name: str) -> int:
        with self._explained("read", name):
            blob = self._bucket().blob(name)
            blob.reload(timeout=self._times, retry=None)
            size: int = blob.size
            return size

    def _is_there(self, name: str) -> bool:
        try:
            self._size(name)
        except (Missing, Refused):
            return False
        return True

    def _session(self) -> Any:
        return self._bucket().client._http  # noqa: SLF001 - the session that the SDK itself sends with

    def _address(self, name: str) -> str:
        from urllib.parse import quote

        return f"{self._settings.address}/download/storage/v1/b/{self._settings.bucket}/o/{quote(name, safe='')}"

    def _explained(self, verb: str, name: str) -> AbstractContextManager[None]:
        return explained(verb, name, self._settings)

    def _connect(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        from tasks.destinations.paced_http import mount

        settings = self._settings
        check_authorities(settings.ca_file)
        options: Any = {"api_endpoint": settings.endpoint} if settings.endpoint else None
        with self._explained("open", ""):
            if settings.credentials:
                try:
                    client = storage.Client.from_service_account_json(str(settings.credentials), client_options=options)
                except (OSError, ValueError) as error:
                    raise SettingsError(
                        f"`{settings.credentials}` is no file with the key of a service account, or can't be read"
                    ) from error
            elif settings.anonymous:
                credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
                client = storage.Client("anonymous", credentials, client_options=options)
            else:
                client = storage.Client(client_options=options)
            session = client._http  # noqa: SLF001 - it takes a session of one's own only together with its credentials
            session.hooks["response"].append(only_of_google)
            mount(session, self._pace(), settings.connections, settings.ca_file)
            return client.bucket(settings.bucket)

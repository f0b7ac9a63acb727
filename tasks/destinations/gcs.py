"""Objects in a bucket of Google Cloud Storage. The one file that knows google-cloud-storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.destinations.body import Body, body_of, crc32c
from tasks.destinations.destination import Data, Listed, check_name, check_prefix, check_range
from tasks.destinations.foreign import Foreign, check_marks, check_span
from tasks.destinations.gcs_session import Sessions
from tasks.destinations.immutable import Terms, in_seconds
from tasks.destinations.pace import Pace
from tasks.destinations.per_process import PerProcess
from tasks.destinations.remote import MIB, Endpoint, RemoteSettings, bounds, checked
from tasks.errors import BackupError, Damaged, Exists, Locked, Missing, NoStore, Refused, SettingsError, Unavailable

_SESSION_BYTES = 8 * MIB
"""What is larger goes up in a session: it costs one request more."""
_RIGHTS = {
    "store": "storage.objects.create",
    "read": "storage.objects.get",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
    "store and lock": "storage.objects.create and storage.objects.setRetention",
    "lock": "storage.objects.update and storage.objects.setRetention",
    "look for a lock on": "storage.objects.get",
}


def set_up(bucket: str) -> str:
    """What to do so that a bucket can lock, in one line."""
    return (
        f"`gcloud storage buckets create gs://NAME --enable-per-object-retention` makes one that does; for `{bucket}`"
        " itself: Cloud console, its tab *Protection*, *Object retention*"
    )


class GcsSettings(RemoteSettings):
    """A bucket of Google Cloud Storage."""

    kind: Literal["gcs"] = "gcs"

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$")
    """The bucket. It has to be there: a backup never makes one."""

    credentials: Path | None = Field(default=None, examples=["/run/secrets/backup-writer.json"])
    """The file with the key of a service account."""

    default_credentials: bool = False
    """Instead of a key: take the credentials that the SDK finds by itself, in GOOGLE_APPLICATION_CREDENTIALS, of
    `gcloud`, or from the machine or container it runs on."""

    anonymous: bool = False
    """Instead of a key: none at all, for a server of one's own that wants none."""

    endpoint: Endpoint | None = Field(default=None, examples=["https://storage.googleapis.com"])
    """Another address of the service, such as a private one. Without it: Google's own."""

    @property
    def address(self) -> str:
        return self.endpoint or "https://storage.googleapis.com"

    @model_validator(mode="after")
    def _has_credentials(self) -> GcsSettings:
        if bool(self.credentials) + self.default_credentials + self.anonymous != 1:
            raise ValueError("give `credentials`, or set `default_credentials = true`")
        return self


class Gcs:
    """Create-only by `ifGenerationMatch=0`. The service checks each upload by its CRC32C, and whole reads are checked
    by it. What is larger than 8 MiB, as packs are, goes on where the connection broke; nobody sees any of it before
    all is there, and the service drops after a week what never came to its end."""

    Settings: ClassVar[type[GcsSettings]] = GcsSettings

    def __init__(self, settings: GcsSettings) -> None:
        self._settings = settings
        self._bucket = PerProcess(self._connect)
        self._terms = Terms(settings)
        self._where = f"GCS bucket `{settings.bucket}`" + (f" at {settings.endpoint}" if settings.endpoint else "")
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
            raise self._answered(answer.status_code, answer.text, "store", blob.name)
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
        with (
            self._explained("read", name),
            # The media itself, by the SDK's own session: its downloads tell neither the size nor the metadata of what
            # they read a part of. As a stream, for what requests reads by itself is held twice.
            self._session().get(
                self._address(name) + "?alt=media",
                headers={**byte_range, "Accept-Encoding": "identity"},
                timeout=self._times,
                stream=True,
                allow_redirects=False,
            ) as answer,
        ):
            content = self._pace().read_all(answer.raw.read)
            if answer.status_code not in (200, 206, 416):
                raise self._answered(answer.status_code, content.decode(errors="replace"), "read", name)
            told, total = answer.headers, None
            if answer.status_code != 416:
                stored = told.get("X-Goog-Stored-Content-Length", told.get("Content-Length", -1))
                total = int(stored) if whole else check_span(told.get("Content-Range"), first, len(content))
        if total is None:  # it begins at or behind the end
            total, content = self._size(name), b""
        expected = check_range(name, total, offset, length)
        if len(content) != expected:
            raise Unavailable(f"of `{name}` only {len(content)} of {expected} bytes came from {self._where}")
        if whole and not self._is_right(content, answer.headers):
            raise Damaged(f"`{name}` at {self._where} is not what was stored: run `verify` on its source")
        return content

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return checked(self._list(check_prefix(prefix)), self._where)

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

    def _list(self, prefix: str) -> Iterator[Listed]:
        with self._explained("list", prefix):
            fields = "kind,items(name,size),nextPageToken"
            for each in self._bucket().list_blobs(prefix=prefix, fields=fields, timeout=self._times, retry=None):
                yield Listed(each.name, each.size)

    @staticmethod
    def _is_right(content: bytes, headers: Mapping[str, str]) -> bool:
        """By the service's own checksum, unless something on the way drops that."""
        hashes = headers.get("X-Goog-Hash", "")
        return "crc32c=" not in hashes or f"crc32c={crc32c(content)}" in hashes

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

        base = self._settings.endpoint or "https://storage.googleapis.com"
        return f"{base}/download/storage/v1/b/{self._settings.bucket}/o/{quote(name, safe='')}"

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        """What is not known to be for good is *unavailable*, so that it is tried again."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except GoogleAPIError as error:
            raise self._answered(getattr(error, "code", None) or 0, str(error), verb, name) from error
        except InvalidResponse as error:
            raise self._answered(error.response.status_code, error.response.text, verb, name) from error
        except DefaultCredentialsError as error:
            raise Refused(f"no credentials for {self._where} were found: give `credentials`") from error
        except RefreshError as error:
            if not error.retryable:
                raise Refused(f"Google does not accept the credentials for {self._where}: check them") from error
            raise self._unanswered(error, verb, name) from error
        except (GoogleAuthError, RequestException, HTTPError, DataCorruption, Foreign, OSError, ValueError) as error:
            raise self._unanswered(error, verb, name) from error

    def _answered(self, status: int, said: str, verb: str, name: str) -> BackupError:
        what = f"can't {verb} `{name}` in {self._where}"
        if status == 404 and (verb == "list" or "bucket does not exist" in said):
            return NoStore(f"there is no {self._where}: make it, or correct `bucket`")
        if status == 404 and not verb.startswith("store"):
            return Missing(f"`{name}` is not in {self._where}")
        if status == 412:
            return Exists(f"`{name}` is in {self._where} already, and was left as it is")
        if status == 401:
            return Refused(f"{self._where} does not accept the credentials: check them, and this machine's clock")
        if status == 403:
            held = verb == "delete" and ("retention" in said.lower() or "hold" in said.lower())
            if held:
                return Locked(f"`{name}` in {self._where} is still locked, and is deleted later")
            why = f"they need {_RIGHTS.get(verb, 'more rights')}"
            return Refused(f"{self._where} does not let these credentials {verb} `{name}`: {why}")
        if status == 400 and verb in ("store and lock", "lock") and "retention" in said.lower():
            return Refused(
                f"{self._where} is not made to lock what it stores, as `immutable_days` asks for:"
                f" {set_up(self._settings.bucket)}"
            )
        if status in (0, 408, 409, 410, 429) or status >= 500 or status < 400 or (status == 400 and "hash" in said):
            return Unavailable(f"{what} now (status {status})")
        return Refused(f"{what} (status {status})")

    def _unanswered(self, error: Exception, verb: str, name: str) -> BackupError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Refused(f"the certificate of {self._where} is not trusted: name the one that signed it in `ca_file`")
        if isinstance(error, Foreign):
            return Unavailable(f"can't {verb} `{name}` in {self._where} now: {error}")
        kind = type(error).__name__
        return Unavailable(f"can't {verb} `{name}` in {self._where} now: no answer, or half of one ({kind})")

    def _connect(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        from tasks.destinations.paced_http import mount

        settings = self._settings
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
            session.hooks["response"].append(_only_of_google)
            mount(session, self._pace(), settings.connections, settings.ca_file)
            return client.bucket(settings.bucket)


def _only_of_google(answer: Any, *_: Any, stream: bool = False, **__: Any) -> None:
    """For each answer, as the SDK takes any without an error for what was asked for. Raises `Foreign` where it has
    neither the headers that come with objects and uploads, nor what the documents say that it has."""
    if answer.status_code in (308, 401, 403) or answer.status_code >= 500:
        return
    try:
        check_marks(answer.headers, ("x-guploader-", "x-goog-"), answer.status_code)
    except Foreign:
        if stream or not _is_of_google(answer):
            answer.close()
            raise


def _is_of_google(answer: Any) -> bool:
    if answer.request.method == "DELETE" and answer.status_code == 204:
        return True
    try:
        told = answer.json()
    except ValueError:
        return "upload_id=" in answer.headers.get("Location", "")
    return isinstance(told, dict) and (
        str(told.get("kind", "")).startswith("storage#") or isinstance(told.get("error"), dict)
    )

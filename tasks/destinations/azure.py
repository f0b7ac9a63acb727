"""Objects in a container of Azure Blob Storage. The one file that knows azure-storage-blob."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs

from pydantic import Field, model_validator

from tasks.destinations.body import body_of, is_whole
from tasks.destinations.destination import Data, Listed, check_name, check_prefix, check_range
from tasks.destinations.immutable import Terms, in_seconds
from tasks.destinations.pace import Pace
from tasks.destinations.per_process import PerProcess
from tasks.destinations.remote import CHECKSUM, MIB, WHOLE_BYTES, Endpoint, RemoteSettings, checked, total_of
from tasks.errors import (
    BackupError,
    Damaged,
    Exists,
    Locked,
    Missing,
    NoSpace,
    NoStore,
    Refused,
    SettingsError,
    Unavailable,
)
from tasks.secret import SecretReference

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient, ImmutabilityPolicy

_PART_BYTES = 16 * MIB
_PARTS_AT_ONCE = 4
_BLOCK_BYTES = 1 << 18
_CHECKED_RANGE_BYTES = 4 * MIB
"""The service gives the MD5 of a range up to here."""

_RIGHTS = {
    "store": "`c` (create)",
    "store and lock": "`c` (create) and `i` (set immutability policies)",
    "lock": "`i` (set immutability policies)",
    "read": "`r` (read)",
    "look for a lock on": "`r` (read)",
    "list": "`l` (list)",
    "delete": "`d` (delete)",
    "delete a version of": "`x` (delete versions), `l` (list)",
}
"""What a shared access signature must permit."""

_KEYS = {
    "AuthenticationFailed": "does not accept the credentials: check them, and this machine's clock",
    "InvalidAuthenticationInfo": "does not accept the credentials: check them",
    "AuthorizationFailure": "does not let this in: check the credentials, and the network rules of the account",
    "AccountIsDisabled": "says that the account is disabled",
    "BlobArchived": "keeps it in the archive tier: bring it back there first",
}


def set_up(account: str, container: str) -> str:
    """What to type so that a container can lock, in one line."""
    return (
        f"`az storage account blob-service-properties update --account-name {account} --enable-versioning true`, then"
        f" `az storage container-rm create --storage-account {account} --name {container} --enable-vlw` for a new"
        " container; for one that is there: `az storage container immutability-policy create --account-name"
        f" {account} --container-name {container} --period 1` and `az storage container-rm migrate-vlw"
        f" --storage-account {account} --name {container}`"
    )


class AzureSettings(RemoteSettings):
    """A container of Azure Blob Storage."""

    kind: Literal["azure"] = "azure"

    url: Endpoint
    """The account's address, such as `https://ACCOUNT.blob.core.windows.net`."""

    container: str = Field(pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$")
    """The container. It has to be there: a backup never makes one."""

    account_key: SecretReference | None = Field(default=None, examples=["env:AZURE_STORAGE_KEY"])
    """The account's key: it may do everything, so a `sas` is better."""

    sas: SecretReference | None = Field(default=None, examples=["env:AZURE_STORAGE_SAS_TOKEN"])
    """A shared access signature of the container. One that may create, read and list is enough to back up."""

    @property
    def address(self) -> str:
        return self.url

    @property
    def account(self) -> str:
        """Its name: the path of an emulator, the first part of the host name of the service itself."""
        host, _, path = self.url.partition("://")[2].partition("/")
        return path or host.partition(".")[0]

    @model_validator(mode="after")
    def _has_credentials(self) -> AzureSettings:
        if (self.account_key is None) == (self.sas is None):
            raise ValueError("give one of `account_key` and `sas`")
        return self


class Azure:
    """Create-only by `If-None-Match: *`. The service checks all it is sent by its MD5, and gives that of what it sends;
    whole reads are also checked by a checksum kept beside the blob. What is larger than two packs goes up in parts, of
    which the service drops those that were never put together after a week."""

    Settings: ClassVar[type[AzureSettings]] = AzureSettings

    def __init__(self, settings: AzureSettings) -> None:
        self._settings = settings
        self._container = PerProcess(self._connect)
        self._terms = Terms(settings)
        self._where = f"Azure container `{settings.container}` at {settings.url}"

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
        locking: Any = {"immutability_policy": self._policy(until)} if until else {}
        with body_of(data) as body, self._explained("store and lock" if until else "store", name):
            blob.upload_blob(
                body,
                length=len(body),
                overwrite=False,
                validate_content=True,
                metadata={CHECKSUM: body.crc32c},
                max_concurrency=_PARTS_AT_ONCE,
                **locking,
            )

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        blob = self._blob(name)
        if offset < 0 or (length is not None and length <= 0):
            check_range(name, self._size(name), offset, length)
            return b""
        whole = offset == 0 and length is None
        part = None if whole else offset
        from azure.core.exceptions import HttpResponseError

        # One request, or one for each 4 MiB: the checksum beside the blob covers the whole of it.
        with self._explained("read", name):
            try:
                found: Any = blob.download_blob(part, length, validate_content=not whole, max_concurrency=1)
                content: bytes = found.readall()
            except HttpResponseError as error:
                if error.status_code != 416:
                    raise
                check_range(name, self._size(name), offset, length)
                return b""
        # A part that begins at or behind the end comes as nothing, with no word of a range.
        total = found.properties.size if whole else total_of(found.properties.content_range)
        expected = check_range(name, self._size(name) if total is None else total, offset, length)
        if len(content) != expected:
            raise Unavailable(f"of `{name}` only {len(content)} of {expected} bytes came from {self._where}")
        if whole and not is_whole(content, found.properties.metadata.get(CHECKSUM)):
            raise Damaged(f"`{name}` at {self._where} is not what was stored: run `verify` on its source")
        return content

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return checked(self._list(check_prefix(prefix)), self._where)

    def delete(self, name: str) -> None:
        blob = self._blob(name)
        if self.term:
            # Deleting what has versions would only hide it, also where it is locked.
            until = self.locked_until(name)
            if until and until > datetime.now(UTC):
                raise self._locked(name, until)
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

    def _locked(self, name: str, until: datetime | None = None) -> Locked:
        when = f"locked until {until:%Y-%m-%d %H:%M} UTC" if until else "still locked"
        return Locked(f"`{name}` in {self._where} is {when}, and is deleted later")

    def _delete_versions(self, name: str) -> None:
        with self._explained("delete a version of", name):
            for each in list(self._container().list_blobs(name_starts_with=name, include=["versions"])):
                if each.name == name and each.version_id:
                    self._blob(name).delete_blob(version_id=each.version_id)

    def _list(self, prefix: str) -> Iterator[Listed]:
        with self._explained("list", prefix):
            for each in self._container().list_blobs(name_starts_with=prefix):
                yield Listed(each.name, each.size)

    def _size(self, name: str) -> int:
        with self._explained("read", name):
            size: int = self._blob(name).get_blob_properties().size
            return size

    def _is_there(self, name: str) -> bool:
        try:
            self._size(name)
        except (Missing, Refused):
            return False
        return True

    def _blob(self, name: str) -> BlobClient:
        return self._container().get_blob_client(check_name(name))

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        """What is not known to be for good is *unavailable*, so that it is tried again."""
        from azure.core.exceptions import AzureError, HttpResponseError
        from requests import RequestException

        try:
            yield
        except HttpResponseError as error:
            if error.status_code is not None and error.status_code >= 300:
                raise self._answered(error, verb, name) from error
            raise self._unanswered(error, verb, name) from error
        except (AzureError, RequestException, OSError) as error:
            raise self._unanswered(error, verb, name) from error
        except ValueError as error:
            # As it says of half a document, or of a key that is no key.
            raise self._unanswered(error, verb, name) from error

    def _answered(self, error: Any, verb: str, name: str) -> BackupError:
        status = error.status_code
        code = getattr(error, "error_code", None) or ""
        code = str(getattr(code, "value", code))
        what = f"can't {verb} `{name}` in {self._where}"
        if code in ("ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"):
            return NoStore(f"there is no {self._where}: make it, or correct `container`")
        if verb.startswith("store") and (code in ("BlobAlreadyExists", "BlobImmutableDueToPolicy") or status == 412):
            return Exists(f"`{name}` is in {self._where} already, and was left as it is")
        if status == 404:
            return Missing(f"`{name}` is not in {self._where}")
        if status in (401, 403) and (ended := self._ended()):
            return Refused(
                f"the signature (`sas`) for {self._where} ended on {ended:%Y-%m-%d %H:%M} UTC: make a new one"
            )
        if code in _KEYS:
            return Refused(f"{self._where} {_KEYS[code]}")
        if code == "BlobImmutableDueToPolicy":
            return self._locked(name)
        if code.startswith("LeaseId"):
            return Refused(f"{what}: it is kept by a lease")
        if verb in ("store and lock", "lock") and (status == 400 or "mmutab" in code or "ersion" in code):
            return Refused(
                f"{self._where} is not made to lock what it stores, as `immutable_days` asks for ({code or status}):"
                f" {set_up(self._settings.account, self._settings.container)}"
            )
        if status in (401, 403):
            right = f": they need {_RIGHTS[verb]}" if verb in _RIGHTS else ""
            return Refused(f"{self._where} does not let these credentials {verb} `{name}` ({code or status}){right}")
        if status == 501:
            return Refused(f"{what}: this service does not know how")
        if status == 507 or code == "AccountLimitExceeded":
            return NoSpace(f"no room to {verb} `{name}` in {self._where} ({code or status}): raise the quota")
        # Azurite has another code for it.
        wrong = code in ("Md5Mismatch", "Crc64Mismatch") or "contentMD5" in str(error.message)
        if status in (408, 409, 429) or status >= 500 or wrong:
            return Unavailable(f"{what} now ({code or status})")
        return Refused(f"{what} ({code or status})")

    def _ended(self) -> datetime | None:
        """When the signature ended, if it has."""
        if self._settings.sas is None:
            return None
        try:
            told = parse_qs(self._settings.sas.read().removeprefix("?")).get("se", [""])[0]
            end = datetime.fromisoformat(told)
        except (SettingsError, ValueError):
            return None
        end = end if end.tzinfo else end.replace(tzinfo=UTC)
        return end if end < datetime.now(UTC) else None

    def _unanswered(self, error: Exception, verb: str, name: str) -> BackupError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Refused(f"the certificate of {self._where} is not trusted: name the one that signed it in `ca_file`")
        kind = type(error).__name__
        if kind == "AzureSigningError":
            return Refused(f"the `account_key` of {self._where} is no key: check it")
        return Unavailable(f"can't {verb} `{name}` in {self._where} now: no answer, or half of one ({kind})")

    def _connect(self) -> ContainerClient:
        import requests
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import ContainerClient

        from tasks.destinations.paced_http import mount

        settings = self._settings
        credential: Any
        if settings.sas:
            credential = AzureSasCredential(settings.sas.read().removeprefix("?"))
        else:
            assert settings.account_key is not None  # noqa: S101 - the settings were checked
            credential = AzureNamedKeyCredential(settings.account, settings.account_key.read())
        session = requests.Session()
        mount(session, Pace(settings.bytes_a_second), settings.connections, settings.ca_file)
        # To the transport, for the client has no use for these beside a transport that it is given.
        connection: Any = {
            "connection_timeout": settings.connect_timeout.total_seconds(),
            "read_timeout": settings.read_timeout.total_seconds(),
            "connection_data_block_size": _BLOCK_BYTES,
        }
        with self._explained("open", ""):
            return ContainerClient(
                settings.url,
                settings.container,
                credential=credential,
                transport=RequestsTransport(session=session, session_owner=False, **connection),
                # The SDK holds in memory what it sends at once. Parts would take the right to write, and so to replace.
                max_single_put_size=WHOLE_BYTES,
                max_block_size=_PART_BYTES,
                max_single_get_size=WHOLE_BYTES,
                max_chunk_get_size=_CHECKED_RANGE_BYTES,
                # One place tries again, for all destinations: retrying.py.
                retry_total=0,
                retry_connect=0,
                retry_read=0,
                retry_status=0,
            )

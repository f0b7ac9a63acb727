"""What azure-storage-blob and the service say, in the words of `tasks/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from tasks.destinations.azure_settings import AzureSettings, set_up
from tasks.destinations.foreign import UNREADABLE, Foreign
from tasks.errors import (
    BackupError,
    Exists,
    Locked,
    Missing,
    NoSpace,
    NoStore,
    Refused,
    SettingsError,
    Unavailable,
)

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


@contextmanager
def explained(verb: str, name: str, settings: AzureSettings) -> Iterator[None]:
    """What is not known to be for good is *unavailable*, so that it is tried again."""
    from azure.core.exceptions import AzureError, HttpResponseError
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except HttpResponseError as error:
        if error.status_code is not None and error.status_code >= 300:
            raise _answered(error, verb, name, settings) from error
        raise _unanswered(error, verb, name, settings.where) from error
    except (AzureError, RequestException, HTTPError, Foreign, OSError, *UNREADABLE) as error:
        # The last too of a key that is no key.
        raise _unanswered(error, verb, name, settings.where) from error


def _answered(error: Any, verb: str, name: str, settings: AzureSettings) -> BackupError:
    status, where = error.status_code, settings.where
    code = getattr(error, "error_code", None) or ""
    code = str(getattr(code, "value", code))
    what = f"can't {verb} `{name}` in {where}"
    if code in ("ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"):
        return NoStore(f"there is no {where}: make it, or correct `container`")
    if verb.startswith("store") and (code in ("BlobAlreadyExists", "BlobImmutableDueToPolicy") or status == 412):
        return Exists(f"`{name}` is in {where} already, and was left as it is")
    if status == 404 and verb in ("list", "store", "store and lock"):
        return NoStore(f"there is no {where}, or it is not for blobs: correct `url` and `container`")
    if status == 404:
        return Missing(f"`{name}` is not in {where}")
    if status in (401, 403) and (ended := _ended(settings)):
        return Refused(f"the signature (`sas`) for {where} ended on {ended:%Y-%m-%d %H:%M} UTC: make a new one")
    if code in _KEYS:
        return Refused(f"{where} {_KEYS[code]}")
    if code == "BlobImmutableDueToPolicy":
        return locked(name, where)
    if code.startswith("LeaseId"):
        return Refused(f"{what}: it is kept by a lease")
    if code in ("Md5Mismatch", "Crc64Mismatch") or "contentMD5" in str(error.message):  # the latter is Azurite's
        return Unavailable(f"{what} now: it arrived damaged ({code or status})")
    if verb in ("store and lock", "lock") and (status == 400 or "mmutab" in code or "ersion" in code):
        return Refused(
            f"{where} is not made to lock what it stores, as `immutable_days` asks for ({code or status}):"
            f" {set_up(settings.account, settings.container)}"
        )
    if status in (401, 403):
        right = f": they need {_RIGHTS[verb]}" if verb in _RIGHTS else ""
        return Refused(f"{where} does not let these credentials {verb} `{name}` ({code or status}){right}")
    if status == 501:
        return Refused(f"{what}: this service does not know how")
    if status == 507 or code == "AccountLimitExceeded":
        return NoSpace(f"no room to {verb} `{name}` in {where} ({code or status}): raise the quota")
    if status in (408, 409, 429) or status >= 500 or (verb == "read" and status == 412):  # replaced while it was read
        return Unavailable(f"{what} now ({code or status})")
    return Refused(f"{what} ({code or status})")


def _ended(settings: AzureSettings) -> datetime | None:
    """When the signature ended, if it has."""
    if settings.sas is None:
        return None
    try:
        told = parse_qs(settings.sas.read().removeprefix("?")).get("se", [""])[0]
        end = datetime.fromisoformat(told)
    except (SettingsError, ValueError):
        return None
    end = end if end.tzinfo else end.replace(tzinfo=UTC)
    return end if end < datetime.now(UTC) else None


def _unanswered(error: Exception, verb: str, name: str, where: str) -> BackupError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Refused(f"the certificate of {where} is not trusted: name the one that signed it in `ca_file`")
    if isinstance(error, Foreign):
        return Unavailable(f"can't {verb} `{name}` in {where} now: {error}")
    kind = type(error).__name__
    if kind == "AzureSigningError":
        return Refused(f"the `account_key` of {where} is no key: check it")
    return Unavailable(f"can't {verb} `{name}` in {where} now: no answer, or half of one ({kind})")


def locked(name: str, where: str, until: datetime | None = None) -> Locked:
    """Why it can't be deleted yet."""
    when = f"locked until {until:%Y-%m-%d %H:%M} UTC" if until else "still locked"
    return Locked(f"`{name}` in {where} is {when}, and is deleted later")

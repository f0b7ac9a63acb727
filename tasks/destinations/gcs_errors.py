"""What google-cloud-storage and the service say, in the words of `tasks/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.destinations.foreign import UNREADABLE, Foreign, check_marks
from tasks.destinations.gcs_settings import GcsSettings, set_up
from tasks.errors import BackupError, Exists, Locked, Missing, NoStore, Refused, Unavailable

_RIGHTS = {
    "store": "storage.objects.create",
    "read": "storage.objects.get",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
    "store and lock": "storage.objects.create and storage.objects.setRetention",
    "lock": "storage.objects.update and storage.objects.setRetention",
    "look for a lock on": "storage.objects.get",
}


@contextmanager
def explained(verb: str, name: str, settings: GcsSettings) -> Iterator[None]:
    """What is not known to be for good is *unavailable*, so that it is tried again."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except GoogleAPIError as error:
        raise answered(getattr(error, "code", None) or 0, str(error), verb, name, settings=settings) from error
    except InvalidResponse as error:
        raise answered(error.response.status_code, error.response.text, verb, name, settings=settings) from error
    except DefaultCredentialsError as error:
        raise Refused(
            f"no credentials for {settings.where} were found: set GOOGLE_APPLICATION_CREDENTIALS to the file of a"
            " key, or give `credentials` in backup.toml"
        ) from error
    except RefreshError as error:
        if not error.retryable:
            raise Refused(f"Google does not accept the credentials for {settings.where}: check them") from error
        raise _unanswered(error, verb, name, settings.where) from error
    except (GoogleAuthError, RequestException, HTTPError, DataCorruption, Foreign, OSError, *UNREADABLE) as error:
        raise _unanswered(error, verb, name, settings.where) from error


def answered(status: int, said: str, verb: str, name: str, *, settings: GcsSettings) -> BackupError:
    """The error for a status, and what was said with it."""
    where = settings.where
    what = f"can't {verb} `{name}` in {where}"
    if status == 404 and (verb == "list" or "bucket does not exist" in said):
        return NoStore(f"there is no {where}: make it, or correct `bucket`")
    if status == 404 and not verb.startswith("store"):
        return Missing(f"`{name}` is not in {where}")
    if status == 412:
        return Exists(f"`{name}` is in {where} already, and was left as it is")
    if status == 401:
        return Refused(f"{where} does not accept the credentials: check them, and this machine's clock")
    if status == 403:
        held = verb == "delete" and ("retention" in said.lower() or "hold" in said.lower())
        if held:
            return Locked(f"`{name}` in {where} is still locked, and is deleted later")
        why = f"they need {_RIGHTS.get(verb, 'more rights')}"
        return Refused(f"{where} does not let these credentials {verb} `{name}`: {why}")
    if status == 400 and verb in ("store and lock", "lock") and "retention" in said.lower():
        return Refused(
            f"{where} is not made to lock what it stores, as `immutable_days` asks for: {set_up(settings.bucket)}"
        )
    if status in (0, 408, 409, 410, 429) or status >= 500 or status < 400 or (status == 400 and "hash" in said):
        return Unavailable(f"{what} now (status {status})")
    return Refused(f"{what} (status {status})")


def _unanswered(error: Exception, verb: str, name: str, where: str) -> BackupError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Refused(f"the certificate of {where} is not trusted: name the one that signed it in `ca_file`")
    if isinstance(error, Foreign):
        return Unavailable(f"can't {verb} `{name}` in {where} now: {error}")
    kind = type(error).__name__
    return Unavailable(f"can't {verb} `{name}` in {where} now: no answer, or half of one ({kind})")


def only_of_google(answer: Any, *_: Any, stream: bool = False, **__: Any) -> None:
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
    # A session is begun anew where it is lost, and what came of it is held to its name and checksum.
    if "upload_id=" in (answer.request.url or "") or "upload_id=" in answer.headers.get("Location", ""):
        return True
    try:
        told = answer.json()
    except ValueError:
        return False
    return isinstance(told, dict) and (
        str(told.get("kind", "")).startswith("storage#") or isinstance(told.get("error"), dict)
    )

"""What boto3 and S3 say, in the words of `tasks/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.destinations.foreign import UNREADABLE, Foreign
from tasks.errors import BackupError, Exists, Missing, NoSpace, NoStore, Refused, Unavailable

_RIGHTS = {
    "store": "s3:PutObject",
    "read": "s3:GetObject",
    "list": "s3:ListBucket",
    "list versions of": "s3:ListBucketVersions",
    "delete": "s3:DeleteObject",
    "delete a version of": "s3:DeleteObjectVersion",
    "store and lock": "s3:PutObject and s3:PutObjectRetention",
    "lock": "s3:PutObjectRetention",
    "look for a lock on": "s3:GetObject and s3:GetObjectRetention",
}
_MISSING = {"NoSuchKey", "404", "NoSuchVersion"}
_TAKEN = {"PreconditionFailed", "412"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
_PASSING = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}
_KEYS = {
    "InvalidAccessKeyId": "does not know the access key: check `access_key`",
    "SignatureDoesNotMatch": "does not accept the signature: check `secret_key`, and `signature` and `region`",
    "ExpiredToken": "says that the session token has expired: get a new one",
    "InvalidToken": "does not know the session token: check `session_token`",
    "TokenRefreshRequired": "wants a new session token",
    "RequestTimeTooSkewed": "says that this machine's clock is wrong: set it, for example with NTP",
    "RequestExpired": "says that this machine's clock is wrong: set it, for example with NTP",
    "NotImplemented": "can't do this: it has to know `If-None-Match`, or backups could overwrite each other",
    "501": "can't do this: it has to know `If-None-Match`, or backups could overwrite each other",
    "InvalidObjectState": "keeps it in a class that must be thawed first: restore it there, and use another class",
    "AccountProblem": "says that there is a problem with the account",
}
_NEEDED = {
    "PutObject": "ETag",
    "GetObject": "ETag",
    "HeadObject": "ETag",
    "ListObjectsV2": "IsTruncated",
    "ListObjectVersions": "IsTruncated",
}
"""What an answer of the service itself has."""
_MARKED = ("GetObject", "HeadObject", "PutObjectRetention")
_MARKS = ("x-amz-", "x-goog-", "x-guploader-")
"""As some of its headers begin: if no others, those of what is kept beside an object."""
_WITHOUT_CONTENT = ("DeleteObject", "PutObjectRetention")


def only_of_s3(http_response: Any, parsed: Any, model: Any, **_: Any) -> None:
    """For botocore's event `after-call`, as it takes any answer without an error for what was asked for: the page of a
    network for guests, for *stored*. Raises `Foreign`."""
    status, needed = http_response.status_code, _NEEDED.get(model.name)
    if status < 300 and (
        (needed and needed not in parsed)
        or (model.name in _WITHOUT_CONTENT and http_response.content)
        or (model.name in _MARKED and not is_marked(parsed))
    ):
        if "Body" in parsed:
            parsed["Body"].close()
        raise Foreign(f"something on the way answered for it (status {status})")


def is_marked(parsed: Any) -> bool:
    """Whether an answer that botocore read has headers as only the service gives."""
    headers = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return any(name.lower().startswith(_MARKS) for name in headers)


class Answer:
    """What may be said about an answer before it counts as an error."""

    @contextmanager
    def unless_past_the_end(self) -> Iterator[None]:
        """Swallows the answer that a range begins at or behind the object's end."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if _code(error) not in ("InvalidRange", "416"):
                raise


@contextmanager
def explained(verb: str, name: str, where: str) -> Iterator[Answer]:
    """Turns what boto3 raises into one line that says what could not be done to `name`. What is not known to be for
    good is *unavailable*, so that it is tried again."""
    import urllib3
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield Answer()
    except ClientError as error:
        raise _answered(error, verb, name, where) from error
    except Foreign as error:
        raise Unavailable(f"can't {verb} `{name}` in {where} now: {error}") from error
    except RecursionError as error:  # so far boto3 looks for the region of a bucket, each time sent elsewhere
        raise Unavailable(f"can't {verb} `{name}` in {where} now: something on the way sends elsewhere") from error
    except (BotoCoreError, ResponseParserError, urllib3.exceptions.HTTPError, OSError, *UNREADABLE) as error:
        raise _unanswered(error, verb, name, where) from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: Any, verb: str, name: str, where: str) -> BackupError:
    code, told = _code(error), error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = " ".join(str(told.get("Message", "")).split())[:200]
    what = f"can't {verb} `{name}` in {where}"
    # The service itself would say what is not there, or there already.
    if status in (404, 412) and code in ("", str(status)) and not is_marked(error.response):
        return Unavailable(f"{what} now: something on the way answered for it (status {status})")
    if code in _MISSING:
        return Missing(f"`{name}` is not in {where}")
    if code == "NoSuchBucket":
        return NoStore(f"there is no {where}: make it, or correct `bucket`")
    if verb.startswith("store") and (code in _TAKEN or status == 412):
        return Exists(f"`{name}` is in {where} already, and was left as it is")
    if code in _KEYS:
        return Refused(f"{where} {_KEYS[code]}")
    if code in _REGION or status in (301, 307):
        region = told.get("Region") or _header(error, "x-amz-bucket-region")
        return Refused(f"{where} is in another region: set `region`" + (f" to `{region}`" if region else ""))
    if code in _FULL or status == 507:
        return NoSpace(f"no room to {verb} `{name}` in {where} ({said or code}): free space there, or raise the quota")
    if status in (401, 403):
        right = f"needs {_RIGHTS[verb]}" if verb in _RIGHTS else "is not allowed to"
        return Refused(f"{where} does not let this key {verb} `{name}` ({code}): it {right}")
    if code in _PASSING or status in (408, 409, 429) or status >= 500 or status < 400:
        return Unavailable(f"{what} now ({code or status}: {said or 'no reason given'})")
    return Refused(f"{what} ({code or status}: {said or 'no reason given'})")


def _header(error: Any, name: str) -> str:
    return str(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get(name, ""))


def _unanswered(error: Exception, verb: str, name: str, where: str) -> BackupError:
    from botocore import exceptions as sdk

    kind = type(error).__name__
    if isinstance(error, (sdk.NoCredentialsError, sdk.PartialCredentialsError)):
        return Refused(
            f"no credentials for {where} were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give"
            " `access_key` and `secret_key` in backup.toml"
        )
    if isinstance(error, (sdk.CredentialRetrievalError, sdk.ProfileNotFound, sdk.TokenRetrievalError)):
        return Refused(f"the credentials for {where} can't be had ({kind}): check the machine's role or `~/.aws`")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Refused(f"the certificate of {where} is not trusted: name the one that signed it in `ca_file`")
    wrong = (sdk.ValidationError, sdk.ParamValidationError, sdk.InvalidDNSNameError, sdk.ConfigParseError)
    if isinstance(error, wrong):
        return Refused(f"can't {verb} `{name}` in {where} ({kind}): check its options in backup.toml")
    if isinstance(error, (sdk.FlexibleChecksumError, sdk.ChecksumError)):
        return Unavailable(f"`{name}` arrived damaged from {where}")
    return Unavailable(f"can't {verb} `{name}` in {where} now: no answer, or half of one ({kind})")

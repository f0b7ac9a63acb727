"""moto's server, made more like S3: it looks whether a name is taken and stores in one step, and checks Content-MD5 and
the SHA-256 of what is signed with one.

A request with `X-Unchecked` is not checked, as by services that do not; one with `X-Tag` gets a tag that is no MD5.
What is stored is answered with a number, as S3 does to all.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from typing import Any

from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response
from moto.server import main
from werkzeug.serving import WSGIRequestHandler

_lock = threading.Lock()
_put_object = S3Response.put_object


def _at_once(self: S3Response, *arguments: Any) -> Any:
    if "X-Unchecked" not in self.headers:
        _check(self.headers, self.body or b"")
    with _lock:
        status, headers, body = _put_object(self, *arguments)
    if "X-Tag" in self.headers:
        headers = {name: value for name, value in headers.items() if name.lower() != "etag"} | {"ETag": '"0a-1"'}
    return status, {**headers, "x-amz-request-id": secrets.token_hex(8)}, body


def _check(headers: Any, body: bytes) -> None:
    claimed = headers.get("Content-MD5")
    found = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    if claimed not in (None, found):
        raise S3ClientError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    signed = headers.get("X-Amz-Content-SHA256", "")
    if len(signed) == 64 and signed != hashlib.sha256(body).hexdigest():
        raise S3ClientError(
            "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."
        )


if __name__ == "__main__":
    WSGIRequestHandler.disable_nagle_algorithm = True  # headers and body in two packets cost 40 ms each time
    S3Response.put_object = _at_once  # type: ignore[method-assign]
    main()

"""moto's server, made more like S3: it looks whether a name is taken and stores in one step, and checks Content-MD5.

A request with `X-Unchecked` is not checked, as by services that do not; one with `X-Tag` gets a tag that is no MD5.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from typing import Any

from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response
from moto.server import main
from werkzeug.serving import WSGIRequestHandler

_lock = threading.Lock()
_put_object = S3Response.put_object


def _at_once(self: S3Response, *arguments: Any) -> Any:
    claimed = self.headers.get("Content-MD5")
    found = base64.b64encode(hashlib.md5(self.body or b"", usedforsecurity=False).digest()).decode()
    if claimed not in (None, found) and "X-Unchecked" not in self.headers:
        raise S3ClientError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    with _lock:
        status, headers, body = _put_object(self, *arguments)
    if "X-Tag" in self.headers:
        headers = {name: value for name, value in headers.items() if name.lower() != "etag"} | {"ETag": '"0a-1"'}
    return status, headers, body


if __name__ == "__main__":
    WSGIRequestHandler.disable_nagle_algorithm = True  # headers and body in two packets cost 40 ms each time
    S3Response.put_object = _at_once  # type: ignore[method-assign]
    main()

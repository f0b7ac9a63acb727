"""moto's server, with conditional writes in one step: moto looks and stores in two, between which others may store."""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

_lock = threading.Lock()
_put_object = S3Response.put_object


def _at_once(self: S3Response, *arguments: Any) -> Any:
    with _lock:
        return _put_object(self, *arguments)


if __name__ == "__main__":
    S3Response.put_object = _at_once  # type: ignore[method-assign]
    main()

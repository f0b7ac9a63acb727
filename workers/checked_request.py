"""What a worker makes of a message of another application, before a process of its pool gets it."""

from __future__ import annotations

import threading
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request


class CheckedRequest(Request):
    """With a time limit that is no number Celery 5.7 ends the worker, and the next one that the message comes to; with
    another count of them than two it gives a process of its pool to the message, and never gets it back."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        limits: Any = self.time_limits
        if not isinstance(limits, list | tuple) or len(limits) != 2 or not all(map(_is_limit, limits)):
            raise InvalidTaskError("a time limit is a number of seconds, of which there are two")


def _is_limit(limit: object) -> bool:
    return limit is None or (isinstance(limit, int | float) and 0 <= limit < threading.TIMEOUT_MAX)

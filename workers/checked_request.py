"""What a worker makes of a message of another application, before a process of its pool gets it."""

from __future__ import annotations

from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request


class CheckedRequest(Request):
    """With a time limit that is no number Celery 5.7 ends the worker, and the next one that the message comes to."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not all(limit is None or isinstance(limit, int | float) for limit in self.time_limits):
            raise InvalidTaskError("a time limit is a number of seconds")

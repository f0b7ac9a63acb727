"""Where the broker's Redis keeps what belongs to runs, and what it raises when it does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tasks.errors import NotFound, Unavailable

if TYPE_CHECKING:
    import redis

PREFIX = "geometra:"
KEPT = timedelta(days=90)
_NO_RIGHT = "its user may not do that; workers/BROKER.md has the rights that are needed"
_REFUSALS = (
    ("OutOfMemoryError", "", "its memory is full; give it more, or raise `maxmemory`"),
    ("ReadOnlyError", "", "it is a replica; name its primary"),
    ("NoPermissionError", "", _NO_RIGHT),
    # In a script, as Redis up to 7.0 and newer ones say it.
    ("ResponseError", "The user executing the script can't run ", _NO_RIGHT),
    ("ResponseError", "ACL failure in script", _NO_RIGHT),
    ("ResponseError", "MISCONF ", "its disk is full, or can't be written to"),
    ("ResponseError", "DB index ", "it has no database of the number in its URL"),
)
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def is_run(run: str) -> bool:
    """Whether it can be a run's id, which names folders and keys."""
    return bool(_RUN.fullmatch(run))


def check_run(run: str) -> str:
    """The run id itself if it can be one. Raises `NotFound`."""
    if not is_run(run):
        raise NotFound(f"`{run[:60]!r}` is no run's id")
    return run


class RunKeys:
    """Of one broker."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def now(self) -> datetime:
        """By the broker's clock, the one that all hosts share. Raises `Unavailable`."""
        with reaching():
            seconds, micros = self._redis.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)

    def _key(self, *parts: str) -> str:
        return PREFIX + ":".join(parts)


@contextmanager
def reaching() -> Iterator[None]:
    """What Redis raises becomes `Unavailable`."""
    import redis

    try:
        yield
    except redis.AuthenticationError as error:
        raise Unavailable("the broker refuses the user or the password of its URL: was it changed there?") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        # Of an attempt to connect the text has an address and the system's words, and no secret.
        why = f" ({text})" if (text := str(error)).startswith("Error ") else ""
        raise Unavailable(
            f"the broker does not answer; is its Redis running and can this host reach it?{why}"
        ) from error
    except redis.RedisError as error:
        raise Unavailable(f"the broker refused a command: {_why(error)}") from error


def _why(error: redis.RedisError) -> str:
    """Never its text, which may quote data."""
    text = str(error).rpartition(" of pipeline caused error: ")[2]
    kinds = {each.__name__ for each in type(error).__mro__}
    for kind, beginning, why in _REFUSALS:
        if kind in kinds and text.startswith(beginning):
            return why
    return f"{type(error).__name__}; its log says more"

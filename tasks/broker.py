"""Where the broker is, and a connection to it. Knows Redis URLs; knows nothing of Celery.

The broker is named by the environment, else by a secret of backup.toml, else it is the embedded one: a private server
on a Unix socket below the state folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.errors import SettingsError
from tasks.settings import Settings

VARIABLE = "GEOMETRA_BACKUP_BROKER"
_SOCKET_LIMIT = 100
"""Bytes of a Unix socket's path: 107 on Linux, 103 on macOS, and a few to spare."""


def is_embedded(settings: Settings) -> bool:
    return VARIABLE not in os.environ and settings.broker is None


def broker_url(settings: Settings) -> str:
    """The URL of the broker; it may carry a password. Raises `SettingsError` for what is no Redis URL."""
    if is_embedded(settings):
        return f"redis+socket://{socket_path(settings)}?virtual_host=0"
    url = os.environ[VARIABLE] if VARIABLE in os.environ else settings.broker.read() if settings.broker else ""
    if urlsplit(url).scheme not in ("redis", "rediss", "redis+socket"):
        origin = VARIABLE if VARIABLE in os.environ else f"the secret `{settings.broker}`"
        raise SettingsError(f"{origin} must hold a Redis URL, such as `redis://host:6379/0`")
    return url


def broker_folder(settings: Settings) -> Path:
    """Where the embedded broker keeps its data."""
    return settings.state / "broker"


def socket_path(settings: Settings) -> Path:
    """The embedded broker's socket: in its folder, or below /tmp where that path is too long or too odd for an URL."""
    path = (broker_folder(settings) / "broker.sock").absolute()
    if len(os.fsencode(path)) <= _SOCKET_LIMIT and re.fullmatch(r"[A-Za-z0-9/._+-]+", str(path)):
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    # Whoever uses it checks that the folder is this user's alone.
    return Path("/tmp") / f"geometra-backup-{os.getuid()}-{name}" / "broker.sock"  # noqa: S108


def connect(url: str, *, patient: bool = True) -> redis.Redis:
    """A client that decodes to text, safe in threads and after a fork. `patient=False`: one try, for readiness."""
    options: dict[str, object] = {"decode_responses": True, "socket_timeout": 20, "socket_connect_timeout": 5}
    if not patient:
        options |= {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 1, "socket_timeout": 2}
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
        url = f"unix://{parts.netloc}{parts.path}?db={database}"
    return redis.Redis.from_url(url, **options)

"""Where the broker is, and a connection to it. Knows Redis URLs; knows nothing of Celery.

The broker is named by the environment, else by a secret of backup.toml, else it is the embedded one: a private server
on a Unix socket below the state folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tasks.errors import SettingsError
from tasks.settings import Settings

if TYPE_CHECKING:
    import redis

VARIABLE = "GEOMETRA_BACKUP_BROKER"
SILENCE = float(os.environ.get("GEOMETRA_BACKUP_BROKER_SILENCE_SECONDS", "20"))
"""How long an answer of the broker may take. Its host may go, or a firewall forget a connection, without a word; who
waits for ever then is a worker that is up and does nothing."""
_SOCKET_LIMIT = 100
"""Bytes of a Unix socket's path: 107 on Linux, 103 on macOS, and a few to spare."""


def is_embedded(settings: Settings) -> bool:
    return VARIABLE not in os.environ and settings.broker is None


def broker_url(settings: Settings) -> str:
    """The URL of the broker; it may carry a password. Over TLS (`rediss://`) it has the server's certificate checked.
    Raises `SettingsError` for what is no Redis URL, or would tell its password or talk to anybody."""
    if is_embedded(settings):
        return f"redis+socket://{socket_path(settings)}?virtual_host=0"
    url = os.environ[VARIABLE] if VARIABLE in os.environ else settings.broker.read() if settings.broker else ""
    origin = VARIABLE if VARIABLE in os.environ else f"the secret `{settings.broker}`"
    try:
        return _checked(url)
    except ValueError as error:
        raise SettingsError(f"{origin} {error}") from None


def _checked(url: str) -> str:
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme not in ("redis", "rediss", "redis+socket"):
        raise ValueError("must hold a Redis URL, such as `redis://host:6379/0`")
    if parts.scheme == "redis+socket" and "@" in parts.netloc:
        # Celery takes such a URL for the name of the host, which `inspect stats` and Flower show to whoever asks.
        raise ValueError(
            "has a user or a password for a Unix socket, which Celery would show: let the socket's mode decide who may"
            " connect, or use `redis://:PASSWORD@127.0.0.1:6379/0`"
        )
    if {"password", "username"} & query.keys():
        raise ValueError("has a user or a password behind the `?`: write `redis://USER:PASSWORD@host:6379/0`")
    if parts.scheme == "rediss":
        # kombu checks no certificate unless told to.
        if query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_") != "required":
            raise ValueError(
                "turns off the check of the server's certificate: leave out `ssl_cert_reqs`; a CA of your own is"
                " named by `?ssl_ca_certs=/path/ca.pem`"
            )
        url = parts._replace(query=urlencode(query | {"ssl_cert_reqs": "required"}, safe="/")).geturl()
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
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, object] = {"decode_responses": True, "socket_timeout": SILENCE, "socket_connect_timeout": 5}
    if not patient:
        options |= {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 1, "socket_timeout": 2}
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
        url = f"unix://{parts.path}?db={database}"
    return redis.Redis.from_url(url, **options)


def evicting(client: redis.Redis) -> str:
    """The policy by which a server that is full throws away what it holds; empty where it does not, or where this user
    may not ask."""
    import redis

    try:
        memory: Any = client.info("memory")
    except redis.ResponseError:
        return ""
    return str(memory["maxmemory_policy"]).replace("noeviction", "") if memory.get("maxmemory") else ""

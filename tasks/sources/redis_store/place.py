"""Where a server is and how it is spoken to: from a URL and options to what a connection needs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from tasks.errors import SettingsError
from tasks.secret import Secret, url_of

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_PORT, _SENTINEL_PORT = 6379, 26379
_FORMS = (
    "use redis://host:6379, rediss://host:6379 (TLS), unix:///path/of/redis.sock,"
    " or redis+sentinel://host:26379,host:26379/name"
)


class Options(Protocol):
    """The options beside the URL, as the settings of a source and of a target have them."""

    @property
    def url(self) -> Secret | str: ...
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> Secret | None: ...
    @property
    def sentinel_password(self) -> Secret | None: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def certificate_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of certificates, by path. Without `ca_file`: what this machine trusts."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Certificates and host names are always verified. Raises `SettingsError` naming a file that can't be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(
                f"`{file}`" for file in (self.ca_file, self.certificate_file, self.key_file) if file is not None
            )
            raise SettingsError(
                f"the certificates of TLS can't be used ({files}): {error.strerror or error}"
            ) from error
        return context


@dataclass(frozen=True, slots=True)
class Place:
    """One server. `shown` names it to people; the password is never shown, not even by `repr`."""

    host: str = ""
    port: int = 0
    socket: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    sentinel_password: str = field(default="", repr=False)
    database: int | None = None

    @property
    def shown(self) -> str:
        if self.socket:
            return f"unix://{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}"

    def at(self, host: str, port: int) -> Place:
        """Another server that is spoken to in the same way: of the same cluster, or told of by a sentinel."""
        return replace(self, host=host, port=port, socket="", sentinels=(), master="")


def place_of(options: Options) -> Place:
    """Raises `SettingsError` for a URL that names no server, or a secret that is not there. Never repeats the URL: it
    may hold a password."""
    url = url_of(options.url)
    named = f"`{options.url}`" if isinstance(options.url, Secret) else "the URL"
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise SettingsError(f"{named} is no address of a Redis server: {_FORMS}")
    tls = Tls(options.ca_file, options.certificate_file, options.key_file) if scheme.startswith("rediss") else None
    place = Place(
        username=options.username,
        password=options.password.read() if options.password else "",
        sentinel_password=options.sentinel_password.read() if options.sentinel_password else "",
        tls=tls,
    )
    try:
        if scheme == "unix":
            return _socket(place, url)
        if scheme.endswith("+sentinel"):
            return _sentinel(place, rest)
        parts = urlsplit(url)
        place = _with_login(place, parts.username, parts.password)
        return replace(
            place, host=parts.hostname or "localhost", port=parts.port or _PORT, database=_database(parts.path)
        )
    except ValueError:
        # Not chained: the error of urlsplit may repeat parts of the URL.
        raise SettingsError(f"{named} is no address of a Redis server: {_FORMS}") from None


def _socket(place: Place, url: str) -> Place:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    place = _with_login(place, parts.username, parts.password)
    path = unquote(parts.path)
    if not path.startswith("/") or parts.hostname:
        raise ValueError("a socket is an absolute path")
    return replace(place, socket=path, database=_database(query.get("db", [""])[0]))


def _sentinel(place: Place, rest: str) -> Place:
    login, _, rest = rest.rpartition("@")
    username, _, password = login.partition(":")
    place = _with_login(place, unquote(username), unquote(password))
    hosts, _, master = rest.partition("/")
    sentinels = []
    for host in hosts.split(","):
        parts = urlsplit(f"//{host}")
        sentinels.append((parts.hostname or "localhost", parts.port or _SENTINEL_PORT))
    master, _, database = unquote(master).partition("/")
    if not master:
        raise ValueError("no name of a master")
    return replace(place, sentinels=tuple(sentinels), master=master, database=_database(database))


def _with_login(place: Place, username: str | None, password: str | None) -> Place:
    """What is named beside the URL wins over what is in it."""
    return replace(
        place,
        username=place.username or unquote(username or ""),
        password=place.password or unquote(password or ""),
    )


def _database(path: str) -> int | None:
    number = path.strip("/")
    return int(number) if number else None

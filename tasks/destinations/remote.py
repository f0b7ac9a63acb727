"""What destinations at the other end of a network have in common: their options, and how they list."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field, model_validator

from tasks.destinations.destination import Destination, Listed, is_name
from tasks.errors import Damaged, Refused, SettingsError, Unavailable
from tasks.settings import DestinationSettings
from tasks.values import Duration

MIB = 1 << 20
WHOLE_BYTES = 64 * MIB
"""Up to here an object is sent in one request: a pack has half of it. Then what is stored was checked as a whole, what
failed is sent again as a whole, nothing unfinished can be left behind, and rights to write single objects suffice."""
CHECKSUM = "crc32c"
"""The name under which each object's checksum is kept beside it."""


_USABLE = "use a URL such as `https://storage.example.com`"


def _folder(value: str) -> str:
    value = value.strip("/")
    if value and not is_name(value):
        raise ValueError("use letters, digits, `_`, `-` and inner dots, in segments joined by `/`")
    return value


def _url(value: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port that is none, or half an address
        raise ValueError(_USABLE) from None
    if not usable or not re.fullmatch("[!-~]+", value):
        raise ValueError(_USABLE)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("only host, port and path belong here: credentials have options of their own")
    return value.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_url)]


class RemoteSettings(DestinationSettings):
    """What every destination behind a network has."""

    @property
    def address(self) -> str:
        """The URL of the service."""
        raise NotImplementedError

    @property
    def where(self) -> str:
        """As errors name it."""
        raise NotImplementedError

    prefix: Annotated[str, AfterValidator(_folder)] = ""
    """The folder in it that the backups lie below. Empty: at the top. Nothing outside of it is read or written."""

    immutable_days: int | None = Field(default=None, ge=1, le=3650, strict=True, examples=[30])
    """For so many days after it was stored, nobody can delete what a restore needs, whatever rights he has: by object
    lock (S3), version-level immutability (Azure) or object retention (GCS). Prune locks what is still kept anew, so
    that three quarters of it are always left, and deletes what it let go when its lock is over. `check` says whether
    the bucket is made for it, and what to do."""

    immutable_trial: bool = False
    """Lock so that an administrator with special rights can still undo it (GOVERNANCE, or unlocked policies), to try
    it out. Without it nobody can, the account's owner included."""

    connections: int = Field(default=16, ge=1, le=256, strict=True)
    """At most so many requests at once, for each worker process."""

    bytes_a_second: int | None = Field(default=None, ge=10_000, strict=True, examples=[5_000_000])
    """At most so much is sent and received, for each worker process. Without it: as fast as it goes."""

    connect_timeout: Duration = Field(default=timedelta(seconds=30), gt=timedelta(0))
    """So long a connection may take, and so long sending may stand still."""

    read_timeout: Duration = Field(default=timedelta(seconds=60), gt=timedelta(0))
    """So long an answer may stand still."""

    deadline: Duration = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """So long what may pass (no answer, too many requests, half an answer) is tried again, with growing pauses; once in
    any case. Then the step waits, and tries later."""

    ca_file: Path | None = Field(default=None, examples=["/etc/ssl/private-ca.pem"])
    """Certificates to trust, for a server with one of your own. Without it: the usual ones."""

    @model_validator(mode="after")
    def _tries_something(self) -> RemoteSettings:
        if self.immutable_trial and self.immutable_days is None:
            raise ValueError("`immutable_trial` locks nothing without `immutable_days`: give both, or neither")
        return self


Page = tuple[Iterable[Listed], str | None]
"""Some of a listing, and what to ask by for those that follow; None where it is all."""


class Paged(Destination, Protocol):
    """A destination of whose listings each page can be asked for again: many need not come in a row."""

    def page(self, prefix: str, after: str | None = None) -> Page:
        """What `list` gives, from the start or `after` another page. Raises `Refused`, `Unavailable`."""
        ...


def listed(settings: RemoteSettings, ask: Callable[[str | None], Page]) -> Iterator[Listed]:
    """All pages, without what has no name of ours; an error where the order is not that of names, which all reading
    relies on, or where they have no end."""
    last, after = "", None
    while True:
        page, following = ask(after)
        for each in page:
            if not is_name(each.name):
                continue
            if each.name <= last:
                raise Refused(
                    f"{settings.where} does not list in the order of names, so no listing of it can be relied on"
                )
            last = each.name
            yield each
        if following is None:
            return
        if following == after:
            raise Refused(f"{settings.where} says again and again that the same objects follow, so no listing is whole")
        after = following


def check_authorities(ca_file: Path | None) -> None:
    """Raises `SettingsError` where that file holds no certificate: of that the SDKs say that nobody answers."""
    try:
        if ca_file:
            ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # what OpenSSL says is one too
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"`ca_file` can't be used, `{ca_file}`: {why}") from error


def check_arrived(name: str, where: str, size: int, expected: int, *, is_right: bool) -> None:
    """Of what was read. Raises `Unavailable` where only so many of the expected bytes came, `Damaged` where it has not
    the checksum that it should have."""
    if size != expected:
        raise Unavailable(f"of `{name}` only {size} of {expected} bytes came from {where}")
    if not is_right:
        raise Damaged(f"`{name}` at {where} is not what was stored: run `verify` on its source")


def bounds(offset: int, length: int | None) -> tuple[int, int | None]:
    """First and last byte of a range that is not empty."""
    return offset, None if length is None else offset + length - 1

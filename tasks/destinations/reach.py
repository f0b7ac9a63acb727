"""Whether the service behind a destination answers at all, and what it thinks of this machine's clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from tasks.errors import Refused, Unavailable

_SECONDS = 10.0


def now() -> datetime:
    return datetime.now(UTC)


def skew(
    address: str, ca_file: Path | None = None, *, clock: Callable[[], datetime] | None = None, seconds: float = _SECONDS
) -> timedelta | None:
    """How far this machine's clock is ahead of the service's, to a second; None where that tells no time. One request
    without credentials, whose answer does not matter. Raises `Unavailable` where there is none, `Refused` where its
    certificate is not to be trusted."""
    import requests

    clock = clock or now
    before = clock()
    try:
        answer = requests.head(
            address, timeout=seconds, verify=str(ca_file) if ca_file else True, allow_redirects=False
        )
    except (requests.RequestException, OSError) as error:
        explained = _explained(error, address)
        if explained is None:
            return None
        raise explained from error
    after = clock()
    try:
        told = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return None
    # The service told its time at some moment in between, without its fraction of a second.
    if told > after:
        return after - told
    return max(before - told - timedelta(seconds=1), timedelta(0))


def _explained(error: Exception, address: str) -> Refused | Unavailable | None:
    """None where something is there, and only has no answer for this question."""
    import requests

    parts, said = urlsplit(address), str(error)
    host = parts.hostname or ""
    place = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        if "ostname mismatch" in said or "IP address mismatch" in said:
            return Refused(f"the certificate at {place} is for another host: correct the address")
        if "has expired" in said:
            return Refused(f"the certificate at {place} has expired: renew it, or set this machine's clock")
        return Refused(f"the certificate at {place} is not trusted: name the one that signed it in `ca_file`")
    if isinstance(error, requests.exceptions.SSLError):
        return Refused(f"{place} does not speak TLS: is it `http://` instead of `https://`?")
    if isinstance(error, requests.exceptions.ProxyError):
        return Unavailable(f"no way to {place} through the proxy that `HTTPS_PROXY` or `HTTP_PROXY` names: check it")
    if isinstance(error, requests.exceptions.Timeout):
        return Unavailable(f"no answer from {place} within {_SECONDS:.0f} s: is a firewall in between?")
    if "NameResolutionError" in said or "Name or service not known" in said or "getaddrinfo" in said:
        return Unavailable(f"there is no host `{host}`, or no name server answers: correct the address")
    if "Connection refused" in said:
        return Unavailable(f"nothing listens at {place}: correct the address, or start the service")
    return None

"""Signed messages: what backup.toml says of them becomes Celery's `auth` serializer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from celery.exceptions import SecurityError

from tasks.errors import SettingsError
from tasks.settings import Settings, SigningSettings

if TYPE_CHECKING:
    from cryptography import x509


def set_up(settings: Settings) -> bool:
    """Whether messages are signed; then the serializer `auth` does so from here on. Raises `SettingsError`."""
    signing = settings.signing
    if signing is None:
        return False
    # Here, as it takes each process that does not sign 50 ms to import.
    from celery.security.serialization import register_auth

    key, certificate = _text(signing.key), _text(signing.certificate)
    for known in sorted(signing.certificates.glob("*.pem")):
        if valid_until(known) <= datetime.now(UTC):
            raise SettingsError(f"the certificate `{known}` has expired: replace it on every host, or remove it")
    try:
        register_auth(key, None, certificate, str(signing.certificates / "*.pem"), "sha256", "json")
    except (SecurityError, ValueError, TypeError) as error:
        raise SettingsError(
            f"`{signing.key}` and `{signing.certificate}` can't sign: an RSA key without a passphrase and its"
            " certificate, both in PEM, are needed"
        ) from error
    _check_own(signing)
    return True


def valid_until(certificate: Path) -> datetime:
    """Raises `SettingsError`."""
    return _certificate(certificate).not_valid_after_utc


def _check_own(signing: SigningSettings) -> None:
    own = _certificate(signing.certificate)
    if own not in map(_certificate, signing.certificates.glob("*.pem")):
        raise SettingsError(
            f"`{signing.certificate}` is not among the certificates that are known: copy it into"
            f" `{signing.certificates}`, on every host"
        )


def _certificate(path: Path) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_text(path).encode())
    except ValueError as error:
        raise SettingsError(f"`{path}` holds no certificate in PEM") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"`{path}`, for signed messages, can't be read; see `[signing]`") from error

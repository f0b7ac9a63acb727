"""Secrets by reference, and addresses of servers, which may hold one: what backup.toml has instead of a password."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ValidationError, WithJsonSchema, field_validator

from tasks.errors import SettingsError
from tasks.model import Model

_NEVER_HERE = "a secret is never written here: use `env:NAME` or `file:/path/of/a/file`"
_REFERENCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")


def plain(text: str) -> str:
    """As a person types it: without the byte order mark of an editor, and the line end that variables and files have
    where they were made of a line."""
    return text.removeprefix("\ufeff").rstrip("\r\n")


class Secret(Model):
    """Where a secret is: `env:NAME` or `file:PATH`. Shows as that reference, never as its value."""

    reference: str

    @field_validator("reference")
    @classmethod
    def _refers(cls, value: str) -> str:
        if not re.fullmatch(_REFERENCE, value):
            raise ValueError(_NEVER_HERE)
        return value

    @classmethod
    def at(cls, reference: str) -> Secret:
        """For a reference typed by a person. Raises `SettingsError`, which does not repeat it."""
        try:
            return cls(reference=reference)
        except ValidationError as error:
            raise SettingsError(_NEVER_HERE) from error

    @property
    def file(self) -> Path | None:
        """The file that holds it, or None if it is in the environment."""
        where, _, name = self.reference.partition(":")
        return Path(name) if where == "file" else None

    def read(self) -> str:
        """The secret, `plain`. Raises `SettingsError` naming the variable or file."""
        if self.file is None:
            name = self.reference.removeprefix("env:")
            text = plain(os.environ.get(name, ""))
            if not text:
                raise SettingsError(f"the environment variable `{name}` is not set; it must hold a secret")
            return text
        try:
            text = plain(self.file.expanduser().read_text(encoding="utf-8"))
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise SettingsError(f"the secret file `{self.file}` can't be read: {why}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"the secret file `{self.file}` is not text; it must hold one line of UTF-8") from error
        if not text:
            raise SettingsError(f"the secret file `{self.file}` is empty; it must hold a secret")
        return text

    def __str__(self) -> str:
        return self.reference


def _secret(value: Any) -> Any:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not re.fullmatch(_REFERENCE, value):
        raise ValueError(_NEVER_HERE)
    return Secret(reference=value)


def _address(value: Any) -> Any:
    if isinstance(value, Secret) or (isinstance(value, str) and re.fullmatch(_REFERENCE, value)):
        return _secret(value)
    if not isinstance(value, str) or not _URL.match(value):
        raise ValueError("use a URL, or `env:NAME` or `file:PATH` of where one is found")
    try:
        has_password = urlsplit(value).password is not None
    except ValueError:
        raise ValueError("this is no URL") from None
    if has_password:
        raise ValueError("a password is never written here: use `env:NAME` or `file:PATH` for the whole URL")
    return value


SecretReference = Annotated[
    Secret, BeforeValidator(_secret), WithJsonSchema({"type": "string", "pattern": _REFERENCE, "format": "secret"})
]
Address = Annotated[
    Secret | str,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "format": "address"}),
]
"""The URL of a server: as it is, where it holds no password, else by reference. `url_of` reads it."""


def url_of(address: Secret | str) -> str:
    """The URL itself; it may hold a password. Raises `SettingsError` where the variable or file is not there."""
    return address.read() if isinstance(address, Secret) else address


def is_address(text: str) -> bool:
    """Whether a person who typed this means a server, and not a folder."""
    return bool(_URL.match(text) or re.fullmatch(_REFERENCE, text))

"""The options of a bucket of Amazon S3, or of a service that speaks its language."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from tasks.destinations.remote import Endpoint, RemoteSettings
from tasks.secret import SecretReference


def _header(value: str) -> str:
    name, colon, text = value.partition(":")
    if not colon or not name.strip() or not text.strip() or not value.isprintable():
        raise ValueError("use `Name: value`")
    return value


def _moment(value: Any) -> Any:
    with suppress(ValueError):
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            return moment
    raise ValueError("use a time with its zone, such as `2026-11-20T03:00:00Z`")


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "moment"})]


class S3Settings(RemoteSettings):
    """A bucket of Amazon S3, or of anything that speaks its language and knows `If-None-Match` (MinIO, Ceph, R2 and
    many more: `check` tries it)."""

    kind: Literal["s3"] = "s3"

    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
    """The bucket. It has to be there: a backup never makes one."""

    endpoint: Endpoint | None = Field(default=None, examples=["https://s3.example.com"])
    """The service's address. Without it: Amazon's own in `region`."""

    region: str | None = Field(default=None, examples=["eu-central-1"])
    """The bucket's region. Without it: what the SDK finds with `default_credentials`, else `us-east-1`, which
    most other services take."""

    access_key: SecretReference | None = Field(default=None, examples=["env:AWS_ACCESS_KEY_ID"])
    """The access key's id."""

    secret_key: SecretReference | None = Field(default=None, examples=["env:AWS_SECRET_ACCESS_KEY"])
    """The access key itself."""

    session_token: SecretReference | None = Field(default=None, examples=["env:AWS_SESSION_TOKEN"])
    """What belongs to a key that is valid for a while only. As files, all three may be replaced while workers run."""

    default_credentials: bool = False
    """Instead of a key: take the credentials that the SDK finds by itself, in the environment, `~/.aws`, or from the
    machine or container it runs on."""

    path_style: bool = False
    """Put the bucket into the path instead of the host name, as many services of one's own need it."""

    signature: Literal["s3v4", "s3"] = "s3v4"
    """How requests are signed; `s3` is the old way, for old services."""

    headers: tuple[Annotated[str, AfterValidator(_header)], ...] = Field(default=(), examples=[["X-Tenant: backup"]])
    """Extra headers of every request, as `Name: value`. No place for secrets."""

    storage_class: str | None = Field(default=None, examples=["STANDARD_IA"])
    """The class of what is stored. Not one that must be thawed before it can be read: everything is verified."""

    as_of: Moment | None = Field(default=None, examples=["2026-11-20T03:00:00Z"])
    """For the day after an attack, in a bucket whose objects have versions: show it as it was at that time, whatever
    was hidden, or written over, since. Nothing can be stored or deleted then. Take it out again after the restore."""

    @property
    def address(self) -> str:
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if self.default_credentials else ()
        found = [os.environ[name] for name in names if os.environ.get(name)]
        return self.endpoint or next(iter(found), f"https://s3.{self.region or 'us-east-1'}.amazonaws.com")

    @property
    def where(self) -> str:
        """As errors name it."""
        return f"S3 bucket `{self.bucket}`" + (f" at {self.endpoint}" if self.endpoint else "")

    @model_validator(mode="after")
    def _has_credentials(self) -> S3Settings:
        if self.default_credentials == bool(self.access_key and self.secret_key):
            raise ValueError("give `access_key` and `secret_key`, or set `default_credentials = true`")
        return self

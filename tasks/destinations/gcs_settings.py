"""The options of a bucket of Google Cloud Storage, and how one is made that can lock."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.destinations.remote import Endpoint, RemoteSettings

_USUAL = "https://storage.googleapis.com"


def set_up(bucket: str) -> str:
    """What to do so that a bucket can lock, in one line."""
    return (
        f"`gcloud storage buckets create gs://NAME --enable-per-object-retention` makes one that does; for `{bucket}`"
        " itself: Cloud console, its tab *Protection*, *Object retention*"
    )


class GcsSettings(RemoteSettings):
    """A bucket of Google Cloud Storage."""

    kind: Literal["gcs"] = "gcs"

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$")
    """The bucket. It has to be there: a backup never makes one."""

    credentials: Path | None = Field(default=None, examples=["/run/secrets/backup-writer.json"])
    """The file with the key of a service account."""

    default_credentials: bool = False
    """Instead of a key: take the credentials that the SDK finds by itself, in GOOGLE_APPLICATION_CREDENTIALS, of
    `gcloud`, or from the machine or container it runs on."""

    anonymous: bool = False
    """Instead of a key: none at all, for a server of one's own that wants none."""

    endpoint: Endpoint | None = Field(default=None, examples=[_USUAL])
    """Another address of the service, such as a private one. Without it: Google's own."""

    @property
    def address(self) -> str:
        return self.endpoint or _USUAL

    @property
    def where(self) -> str:
        """As errors name it."""
        return f"GCS bucket `{self.bucket}`" + (f" at {self.endpoint}" if self.endpoint else "")

    @model_validator(mode="after")
    def _has_credentials(self) -> GcsSettings:
        if bool(self.credentials) + self.default_credentials + self.anonymous != 1:
            raise ValueError("give `credentials`, or set `default_credentials = true`")
        return self

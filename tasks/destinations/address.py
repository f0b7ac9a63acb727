"""A destination that a person names on the command line, without any backup.toml."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from tasks.destinations.azure_settings import AzureSettings
from tasks.destinations.gcs_settings import GcsSettings
from tasks.destinations.local import LocalSettings
from tasks.destinations.s3_settings import S3Settings
from tasks.errors import SettingsError
from tasks.secret import Secret
from tasks.settings import DestinationSettings

_KNOWN = "use a folder, `s3://BUCKET`, `gs://BUCKET` or `https://ACCOUNT.blob.core.windows.net/CONTAINER`"
SAS = "AZURE_STORAGE_SAS_TOKEN"


def settings_at(address: str) -> DestinationSettings:
    """A folder, also as `file:///...`; `s3://BUCKET/PREFIX` and `gs://BUCKET/PREFIX`, with the credentials (and, for
    S3, the endpoint) that the SDK finds; or `https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX`, with the
    signature in the environment. Raises `SettingsError`."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise SettingsError(f"`--from` names no store: {error}") from None
    prefix = parts.path.strip("/")
    try:
        match parts.scheme:
            case "s3":
                return S3Settings(bucket=parts.netloc, prefix=prefix, default_credentials=True)
            case "gs":
                return GcsSettings(bucket=parts.netloc, prefix=prefix, default_credentials=True)
            case "https":
                container, _, below = prefix.partition("/")
                url, sas = f"https://{parts.netloc}", Secret(reference=f"env:{SAS}")
                return AzureSettings(url=url, container=container, prefix=below, sas=sas)
            case "file" if not parts.netloc:
                return LocalSettings(path=Path(unquote(parts.path)).absolute())
    except ValidationError as error:
        raise SettingsError(f"`--from` names no store: {error.errors()[0]['msg']}") from error
    if "://" in address:
        raise SettingsError(f"`--from` names no store: {_KNOWN}, not `{parts.scheme}://`")
    return LocalSettings(path=Path(address).absolute())

"""The options of a container of Azure Blob Storage, and how one is made that can lock."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tasks.destinations.remote import Endpoint, RemoteSettings
from tasks.secret import SecretReference


def set_up(account: str, container: str) -> str:
    """What to type so that a container can lock, in one line."""
    return (
        f"`az storage account blob-service-properties update --account-name {account} --enable-versioning true`, then"
        f" `az storage container-rm create --storage-account {account} --name {container} --enable-vlw` for a new"
        " container; for one that is there: `az storage container immutability-policy create --account-name"
        f" {account} --container-name {container} --period 1` and `az storage container-rm migrate-vlw"
        f" --storage-account {account} --name {container}`"
    )


class AzureSettings(RemoteSettings):
    """A container of Azure Blob Storage."""

    kind: Literal["azure"] = "azure"

    url: Endpoint
    """The account's address, such as `https://ACCOUNT.blob.core.windows.net`."""

    container: str = Field(pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$")
    """The container. It has to be there: a backup never makes one."""

    account_key: SecretReference | None = Field(default=None, examples=["env:AZURE_STORAGE_KEY"])
    """The account's key: it may do everything, so a `sas` is better."""

    sas: SecretReference | None = Field(default=None, examples=["env:AZURE_STORAGE_SAS_TOKEN"])
    """A shared access signature of the container. One that may create, read and list is enough to back up. As a file it
    may be replaced while workers run."""

    @property
    def address(self) -> str:
        return self.url

    @property
    def account(self) -> str:
        """Its name: the path of an emulator, the first part of the host name of the service itself."""
        host, _, path = self.url.partition("://")[2].partition("/")
        return path or host.partition(".")[0]

    @property
    def where(self) -> str:
        """As errors name it."""
        return f"Azure container `{self.container}` at {self.url}"

    @model_validator(mode="after")
    def _has_credentials(self) -> AzureSettings:
        if (self.account_key is None) == (self.sas is None):
            raise ValueError("give one of `account_key` and `sas`")
        return self

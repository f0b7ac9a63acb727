"""The options of a Chroma source, and of a Chroma to restore into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tasks.secret import Address, SecretReference
from tasks.settings import SourceSettings, TargetSettings

TokenHeader = Literal["authorization", "x-chroma-token"]


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or "" in names:
        raise ValueError("name at least one, such as `default_tenant`")
    return names


class ChromaSettings(SourceSettings):
    """ChromaDB: the folder it persists to, copied at one moment while it runs; or a server, exported over HTTP. The
    folder is better where it can be reached: exact to the last bit and much faster to restore."""

    path: Path | None = None
    """The folder that holds `chroma.sqlite3`, of an application or a server, on a disk of this host. The workers' user
    must be able to write there, as a lock is taken for the moment of the copy; writers wait meanwhile."""

    url: Address | None = Field(default=None, examples=["http://127.0.0.1:8000"])
    """Instead of `path`, a server of Chroma 1.0 or newer: its URL, or where one with a password in it is found."""

    token: SecretReference | None = Field(default=None, examples=["env:CHROMA_TOKEN"])
    """What the server wants to see, if it wants a token."""

    token_header: TokenHeader = "authorization"  # noqa: S105 - the name of a header
    """How it is sent: as `Authorization: Bearer ...` or as `X-Chroma-Token: ...`."""

    tenants: Annotated[tuple[str, ...], AfterValidator(_some)] = ("default_tenant",)
    """The tenants of the server: it does not tell which it has. All of their databases and collections are taken."""

    scratch: Path | None = None
    """A folder on this host for what is not whole yet: the copy of `path`, or the largest collection twice. Without it:
    what the variable TMPDIR says, or /var/tmp."""

    indexes: Literal["rebuild", "store"] = "rebuild"
    """Of a `path`: whether Chroma's index of words and its indexes of metadata and of keys are left out of snapshots,
    and made again and proven when the folder is restored; or stored, which takes about twice the bytes of long
    documents."""

    @model_validator(mode="after")
    def _either(self) -> ChromaSettings:
        if (self.path is None) == (self.url is None):
            raise ValueError("a source of the kind `chroma` has either a `path` or a `url`")
        if self.path is not None and self.token is not None:
            raise ValueError("a folder needs no `token`")
        return self


class ChromaTarget(TargetSettings):
    """A running Chroma to restore into, 1.0 or newer. As `chroma:///srv/chroma` it is a folder that no process uses;
    then the program `chroma` must be installed on this host, of the same version as the snapshot's or newer."""

    token: SecretReference | None = None
    """What the server wants to see, if it wants a token."""

    token_header: TokenHeader = "authorization"  # noqa: S105 - the name of a header
    """How it is sent: as `Authorization: Bearer ...` or as `X-Chroma-Token: ...`."""

    tenant: str | None = None
    """Restore into this tenant instead of the one that each collection was in; made if it is not there."""

    database: str | None = None
    """Restore into this database instead of the one that each collection was in; made if it is not there."""

    collection: str | None = None
    """Restore only the collection of this name. Without it: all."""

    as_: str | None = Field(default=None, alias="as")
    """The name that this one collection is to have there."""

    mix: bool = False
    """Add to a collection that holds other records too. They stay, and of records with the same id the snapshot's is
    taken."""

    scratch: Path | None = None
    """A folder on this host for the files of the snapshot. Without it: what the variable TMPDIR says, or /var/tmp."""

    @model_validator(mode="after")
    def _one(self) -> ChromaTarget:
        if self.as_ is not None and self.collection is None:
            raise ValueError("`as` renames one collection: say which with `collection`")
        return self

"""What is stored at a place that `--from` names, for when there is no backup.toml, as the machine is gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tasks.destinations import Destination, Prefixed, open_destination
from tasks.destinations.address import settings_at
from tasks.destinations.file_errors import explained
from tasks.errors import Damaged, NotARepository, NotFound, SettingsError, WrongKey
from tasks.installation import PASSPHRASE
from tasks.repository import ReaderKey, Repository, open_keys
from tasks.repository.keys import keyring_of
from workers.cli import screen

if TYPE_CHECKING:
    from workers.cli.session import Session


def ask_passphrase() -> str | None:
    """None where nobody is there to be asked."""
    if not sys.stdin.isatty():
        return None
    typed: str = click.prompt("Passphrase", hide_input=True, err=True)
    return typed


def read_sheet(path: Path) -> str:
    with explained("read", path):
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFound(f"there is no recovery sheet at `{path}`") from error


class Place:
    """Opened by the recovery sheet's text, or by the passphrase: of the environment, else one that is asked for."""

    def __init__(self, address: str, *, sheet: str | None = None, passphrase: str | None = None) -> None:
        self.address = address
        self._sheet = sheet
        self._given = passphrase
        self._keys: dict[bytes, ReaderKey] = {}

    @cached_property
    def _whole(self) -> Destination:
        return open_destination(settings_at(self.address))

    @cached_property
    def _known(self) -> list[str]:
        return Repository.sources_at(self._whole)

    def sources(self) -> list[str]:
        """The sources whose history is there. Raises `NotARepository` where there is none."""
        if not self._known:
            raise NotARepository(f"`{self.address}` holds no repository: {self._advice()}")
        return self._known

    def repository(self, source: str) -> Repository:
        """Raises `NotARepository`, naming those that are there. Says it where it is another source's."""
        at, document = Prefixed(self._whole, f"{source}/"), self.document(source)
        try:
            keys = self.keys(document)
        except WrongKey as error:
            if Repository.is_as_stored(at, document):
                raise
            raise Damaged(
                f"the keyring document at `{self.address}` is not what was stored, so it may be that, and not what you"
                f" gave, which does not open: {'' if self._sheet else 'try the recovery sheet, or '}put `keyring.json`"
                f" of a host or another destination in the place of `{source}/keys/{keyring_of(document)}`"
            ) from error
        found = Repository.open(at, keys)
        if found.source != source:
            screen.errors.print(
                f"What lies below `{source}` there are the backups of `{found.source}`: has that source got another"
                " name since, or has somebody swapped folders?",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
        return found

    def document(self, source: str) -> bytes:
        """The keyring's document, as it is stored beside a source's history. Raises `NotARepository`."""
        try:
            return Repository.key_document(Prefixed(self._whole, f"{source}/"))
        except NotARepository:
            raise NotARepository(f"`{self.address}` holds no repository of `{source}`: {self._advice()}") from None

    def keys(self, document: bytes) -> ReaderKey:
        """Raises `WrongKey`; `SettingsError` where nobody is there to be asked."""
        if document not in self._keys:
            passphrase = None if self._sheet is not None else self._passphrase
            self._keys[document] = open_keys(document, passphrase=passphrase, sheet=self._sheet)
        return self._keys[document]

    @cached_property
    def _passphrase(self) -> str:
        found = self._given if self._given is not None else os.environ.get(PASSPHRASE)
        if found is None:
            found = ask_passphrase()
        if found is None:
            raise SettingsError(f"there is no passphrase: set {PASSPHRASE}, or give `--recovery-sheet FILE`")
        return found

    def keyring(self) -> tuple[bytes, ReaderKey]:
        """The document and the key of the keyring that is used there and that the passphrase opens. Raises
        `NotARepository`, `WrongKey`."""
        wrong: WrongKey | None = None
        for document in dict.fromkeys(map(self.document, self.sources())):
            try:
                return document, self.keys(document)
            except WrongKey as error:
                wrong = error
        assert wrong is not None  # noqa: S101 - there is one source at least
        raise wrong

    def _advice(self) -> str:
        known = self._known
        return f"there are {', '.join(known)}" if known else "give the folder that holds the sources' folders"


def from_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--from PLACE` and `--recovery-sheet`, for a command that looks: its session then looks there."""

    @wraps(function)
    def looking(session: Session, *, address: str | None, recovery_sheet: Path | None, **others: Any) -> Any:
        if address is not None and others.get("destination") is not None:
            raise click.UsageError("--from and --destination both say where to look: give one of them")
        session.address, session.sheet = address, recovery_sheet
        try:
            return function(session, **others)
        except NotFound as error:
            source = others.get("source")
            if address is not None or source is None or source in session.settings.sources:
                raise
            told = f"{error}; if it was removed since, or got another name, `--from PLACE` has what it left"
            raise NotFound(told) from error

    sheet = click.option("--recovery-sheet", type=click.Path(path_type=Path), help="Instead of a passphrase.")
    place = click.option(
        "--from",
        "address",
        metavar="PLACE",
        help="Without a backup.toml: a folder, s3://BUCKET, gs://BUCKET or"
        " https://ACCOUNT.blob.core.windows.net/CONTAINER.",
    )
    return place(sheet(looking))

"""`init`: a backup.toml for what is found here, the keys, and a folder to back up to; or the keys alone, for a
backup.toml that is there. Replaces nothing."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import click

from tasks.configuration import FILE, load
from tasks.configuration.template import render
from tasks.destinations import Local
from tasks.destinations.address import settings_at
from tasks.destinations.file_errors import explained
from tasks.destinations.local import LocalSettings
from tasks.discovery import Found, discover
from tasks.errors import NotFound, Occupied, SettingsError
from tasks.installation import PASSPHRASE
from tasks.repository import WriterKey, create_keys
from tasks.secret import Secret
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.place import Place, ask_passphrase
from workers.cli.session import Session

KEY_FILES = ("keyring.json", "writer.key")


@subcommand("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option("--destination", type=click.Path(path_type=Path), help="The folder to back up to. Default: backups.")
@click.option("--passphrase", metavar="REFERENCE", help="Use the one in `env:NAME` or `file:PATH`; default: make one.")
@click.option("--from", "address", metavar="PLACE", help="Go on with what is stored there, as `restore --from` has it.")
@click.option("--recovery-sheet", type=click.Path(path_type=Path), help="Write the recovery sheet there, not here.")
def command(
    session: Session,
    folder: Path | None,
    destination: Path | None,
    passphrase: str | None,
    address: str | None,
    recovery_sheet: Path | None,
) -> None:
    """Write a commented backup.toml for what is found in FOLDER, by default this one, and make the keys.

    A backup.toml that is there already is left as it is, and gets the keys that it lacks.

    With --from, as on the machine that takes a lost one's place, the keys are those of what is stored there: the
    passphrase is asked for, and PLACE, if it is a folder, is backed up to.
    """
    named = session.named if folder is None else None
    file = _typed(named) if named else _typed(folder or Path()) / FILE
    if not file.parent.exists():
        raise NotFound(f"`{file.parent}` is not there: make the folder first, or name the one that is to be backed up")
    if named and not os.path.lexists(file):
        raise NotFound(f"`{file}` is not there: `init FOLDER` writes a new {FILE} into FOLDER")
    if recovery_sheet is not None and os.path.lexists(recovery_sheet):
        raise Occupied(f"`{recovery_sheet}` is there already: the recovery sheet needs a new file")
    # What is typed is seen from here, and what is written there from FOLDER.
    destination = destination and _typed(destination)
    if passphrase and (secret_file := Secret.at(passphrase).file):
        passphrase = f"file:{secret_file.expanduser().absolute()}"
    if address is not None and passphrase is None and PASSPHRASE in os.environ:
        passphrase = f"env:{PASSPHRASE}"
    if not os.path.lexists(file):
        _begin(session, file, destination, passphrase, address, recovery_sheet)
    elif destination:
        raise click.UsageError(f"`--destination` is for a new {FILE}: `{file}` names its own")
    else:
        _complete(session, file, passphrase, address, recovery_sheet)


def _begin(
    session: Session,
    file: Path,
    destination: Path | None,
    passphrase: str | None,
    address: str | None,
    recovery_sheet: Path | None,
) -> None:
    keys = file.parent / "keys"
    own = keys / "passphrase"
    for taken in (*(keys / name for name in KEY_FILES), *(() if passphrase else (own,))):
        if os.path.lexists(taken):
            raise Occupied(f"`{taken}` is there already, and was left as it is: move it away, or edit it")
    found = discover(file.parent)
    reference = passphrase or f"file:{keys.name}/{own.name}"
    secret = Secret.at(passphrase).read() if passphrase else _made_or_asked(address)
    keyring = _keyring(secret, address)
    if address is not None:
        destination = destination or _folder_at(address)
    destination = destination or Path("backups")
    text = render(found, destination=destination, passphrase=reference)
    with explained("write", keys):
        # What may fail comes first: keys whose recovery sheet nobody was shown would be taken for good ones.
        Local(Local.Settings(kind="local", path=file.parent / destination)).prepare()
        keyring.write(keys, recovery_sheet, None if passphrase else own)
        _write(file, text)
    sources = list(load(file).sources)
    if session.as_json:
        _print_json(file, keys, sources, keyring, address, recovery_sheet)
        return
    _print_found(found, file, sources)
    _print_keys(keys, keyring, address, recovery_sheet, goes_there=_folder_at(address) == file.parent / destination)


def _complete(
    session: Session, file: Path, passphrase: str | None, address: str | None, recovery_sheet: Path | None
) -> None:
    settings = load(file)
    keys, configured = settings.keys.folder, settings.keys.passphrase
    there = [name for name in KEY_FILES if os.path.lexists(keys / name)]
    if len(there) == 1:
        (lacking,) = set(KEY_FILES).difference(there)
        raise Occupied(f"`{keys / there[0]}` is there already: copy its `{lacking}` from another host, or move it away")
    if there:
        raise Occupied(
            f"`{file}` is there already, and was left as it is, and so are its keys: edit it, or move it away"
        )
    own: Path | None = None
    if configured is None:
        if passphrase is None and PASSPHRASE not in os.environ:
            raise SettingsError(
                f"there is no passphrase: name one as `keys.passphrase` in `{file}` (a file that is not there is made),"
                f" set {PASSPHRASE}, or give `--passphrase REFERENCE`"
            )
        secret = Secret.at(passphrase or f"env:{PASSPHRASE}").read()
    elif configured.file and not os.path.lexists(configured.file.expanduser()):
        own = configured.file.expanduser()
        secret = Secret.at(passphrase).read() if passphrase else _made_or_asked(address)
    else:
        secret = configured.read()
        if passphrase and Secret.at(passphrase).read() != secret:
            raise SettingsError(f"`{passphrase}` is another passphrase than `keys.passphrase` in `{file}` has")
    keyring = _keyring(secret, address)
    with explained("write", keys):
        keyring.write(keys, recovery_sheet, own)
    sources = list(settings.sources)
    if session.as_json:
        _print_json(file, keys, sources, keyring, address, recovery_sheet)
        return
    screen.console.print(f"{file} is there already, and was left as it is", markup=False, soft_wrap=True)
    own_folders = [one.path for one in settings.destinations.values() if isinstance(one, LocalSettings)]
    _print_keys(keys, keyring, address, recovery_sheet, goes_there=_folder_at(address) in own_folders)


@dataclass(frozen=True)
class _Keyring:
    document: bytes
    writer: WriterKey
    sheet: str
    stored: list[str]
    """The sources whose history it opens already."""
    secret: str

    def write(self, folder: Path, recovery_sheet: Path | None, own: Path | None) -> None:
        """`own`: where the passphrase goes, if it was made here."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if recovery_sheet:
            with explained("write", recovery_sheet):
                _write(recovery_sheet, self.sheet)
        if own:
            with explained("write", own):
                _write(own, self.secret + "\n")
        for name, text in zip(KEY_FILES, (self.document.decode(), self.writer.to_text()), strict=True):
            _write(folder / name, text)


def _keyring(secret: str, address: str | None) -> _Keyring:
    """A new one; with an address, the one that is used there."""
    if address is None:
        return _Keyring(*create_keys(secret), [], secret)
    place = Place(address, passphrase=secret)
    document, writer = place.keyring()
    return _Keyring(document, writer, writer.recovery_sheet(), place.sources(), secret)


def _typed(path: Path) -> Path:
    """The whole path of what was typed here. With `..` in it, no pattern that leaves it out would match."""
    whole = path.absolute()
    return whole.resolve() if ".." in whole.parts else whole


def _folder_at(address: str | None) -> Path | None:
    at = None if address is None else settings_at(address)
    return _typed(at.path) if isinstance(at, LocalSettings) else None


def _made_or_asked(address: str | None) -> str:
    """A new passphrase for new keys; for those at an address, theirs."""
    if address is None:
        return secrets.token_urlsafe(24)
    typed = ask_passphrase()
    if typed is None:
        raise SettingsError(f"there is no passphrase: set {PASSPHRASE}, or give `--passphrase REFERENCE`")
    return typed


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _print_found(found: Found, file: Path, sources: list[str]) -> None:
    out = screen.console.print
    count = "1 source" if len(sources) == 1 else f"{len(sources)} sources"
    out(f"Wrote {file} for {count}: {', '.join(sources)}", markup=False, soft_wrap=True)
    for service in found.services:
        found_there = f"Found {service.kind} on {service.address}"
        out(f"{found_there}: if it wants a password, its source has to say where", markup=False, soft_wrap=True)


def _print_keys(
    folder: Path, keyring: _Keyring, address: str | None, recovery_sheet: Path | None, *, goes_there: bool
) -> None:
    out = screen.console.print
    if address is None:
        out(f"Made the keys in {folder}", markup=False, soft_wrap=True)
    else:
        out(f"Put the keys of {address} into {folder}", markup=False, soft_wrap=True)
        out(f"{address} holds: {', '.join(keyring.stored)}", markup=False, soft_wrap=True)
        out("A source goes on with the history that has its name: call yours in backup.toml the same.")
        if not goes_there:
            out("And make it a destination there: `geometra-backup options` has what it takes.")
    _print_sheet(keyring.sheet, recovery_sheet)


def _print_json(
    file: Path, keys: Path, sources: list[str], keyring: _Keyring, address: str | None, recovery_sheet: Path | None
) -> None:
    shown = None if recovery_sheet else keyring.sheet
    told = {"file": file, "keys": keys, "sources": sources, "recovery_sheet": shown}
    screen.print_json(told | ({"stored": keyring.stored} if address is not None else {}))


def _print_sheet(sheet: str, recovery_sheet: Path | None) -> None:
    out = screen.console.print
    if recovery_sheet:
        out(f"Wrote the recovery sheet to {recovery_sheet}: print it, lock it away, delete the file", markup=False)
    else:
        out(
            "\n[bold]Recovery sheet.[/] Print it and lock it away: it opens every backup when the passphrase is lost.\n"
        )
        out("\n".join(f"    {line}" for line in sheet.splitlines()), markup=False)
    out("\nNext: [bold]geometra-backup check[/], then [bold]geometra-backup run[/].")

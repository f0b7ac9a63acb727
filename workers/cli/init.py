"""`init`: a backup.toml for what is found here, the keys, and a folder to back up to. Replaces nothing."""

from __future__ import annotations

import os
import secrets
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
from tasks.repository import create_keys
from tasks.secret import Secret
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.place import Place, ask_passphrase
from workers.cli.session import Session


@subcommand("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--destination", type=click.Path(path_type=Path), help="The folder to back up to. Default: backups.")
@click.option("--passphrase", metavar="REFERENCE", help="Use the one in `env:NAME` or `file:PATH`; default: make one.")
@click.option("--from", "address", metavar="PLACE", help="Go on with what is stored there, as `restore --from` has it.")
@click.option("--recovery-sheet", type=click.Path(path_type=Path), help="Write the recovery sheet there, not here.")
def command(
    session: Session,
    folder: Path,
    destination: Path | None,
    passphrase: str | None,
    address: str | None,
    recovery_sheet: Path | None,
) -> None:
    """Write a commented backup.toml for what is found in FOLDER, and make the keys.

    With --from, as on the machine that takes a lost one's place, the keys are those of what is stored there: the
    passphrase is asked for, and PLACE, if it is a folder, is backed up to.
    """
    folder = _typed(folder)
    if not folder.exists():
        raise NotFound(f"`{folder}` is not there: make the folder first, or name the one that is to be backed up")
    file, keys = folder / FILE, folder / "keys"
    # What is typed is seen from here, and what is written there from FOLDER.
    destination = destination and _typed(destination)
    if passphrase and (secret_file := Secret.at(passphrase).file):
        passphrase = f"file:{secret_file.expanduser().absolute()}"
    own = keys / "passphrase"
    if address is not None and passphrase is None and PASSPHRASE in os.environ:
        passphrase = f"env:{PASSPHRASE}"
    for taken in (file, keys / "keyring.json", keys / "writer.key", *(() if passphrase else (own,))):
        if os.path.lexists(taken):
            raise Occupied(f"`{taken}` is there already, and was left as it is: move it away, or edit it")
    if recovery_sheet is not None and os.path.lexists(recovery_sheet):
        raise Occupied(f"`{recovery_sheet}` is there already: the recovery sheet needs a new file")
    found = discover(folder)
    reference = passphrase or f"file:{keys.name}/{own.name}"
    secret = Secret.at(passphrase).read() if passphrase else _made() if address is None else _asked()
    known: list[str] = []
    if address is None:
        document, writer, sheet = create_keys(secret)
    else:
        place = Place(address, passphrase=secret)
        document, writer = place.keyring()
        sheet, known = writer.recovery_sheet(), place.sources()
        destination = destination or _folder_at(address)
    destination = destination or Path("backups")
    text = render(found, destination=destination, passphrase=reference)
    with explained("write", keys):
        keys.mkdir(mode=0o700, exist_ok=True)
        # What may fail comes first: keys whose recovery sheet nobody was shown would be taken for good ones.
        Local(Local.Settings(kind="local", path=folder / destination)).prepare()
        if recovery_sheet:
            with explained("write", recovery_sheet):
                _write(recovery_sheet, sheet)
        if not passphrase:
            _write(own, secret + "\n")
        _write(keys / "keyring.json", document.decode())
        _write(keys / "writer.key", writer.to_text())
        _write(file, text)
    settings = load(file)
    if session.as_json:
        shown = None if recovery_sheet else sheet
        told = {"file": file, "keys": keys, "sources": list(settings.sources), "recovery_sheet": shown}
        screen.print_json(told | ({"stored": known} if address is not None else {}))
        return
    _print_found(found, file, list(settings.sources))
    if address is None:
        screen.console.print(f"Made the keys in {keys}", markup=False, soft_wrap=True)
    else:
        screen.console.print(f"Put the keys of {address} into {keys}", markup=False, soft_wrap=True)
        _print_stored(address, known, is_backed_up_to=_folder_at(address) == folder / destination)
    _print_sheet(sheet, recovery_sheet)


def _typed(path: Path) -> Path:
    """The whole path of what was typed here. With `..` in it, no pattern that leaves it out would match."""
    whole = path.absolute()
    return whole.resolve() if ".." in whole.parts else whole


def _folder_at(address: str) -> Path | None:
    at = settings_at(address)
    return _typed(at.path) if isinstance(at, LocalSettings) else None


def _made() -> str:
    return secrets.token_urlsafe(24)


def _asked() -> str:
    typed = ask_passphrase()
    if typed is None:
        raise SettingsError(f"there is no passphrase: set {PASSPHRASE}, or give `--passphrase REFERENCE`")
    return typed


def _print_stored(address: str, known: list[str], *, is_backed_up_to: bool) -> None:
    out = screen.console.print
    out(f"{address} holds: {', '.join(known)}", markup=False, soft_wrap=True)
    out("A source goes on with the history that has its name: call yours in backup.toml the same.")
    if not is_backed_up_to:
        out("And make it a destination there: `geometra-backup options` has what it takes.")


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

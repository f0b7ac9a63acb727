"""`init`: a backup.toml for what is found here, the keys, and a folder to back up to. Replaces nothing."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from tasks.configuration import FILE, load
from tasks.configuration.template import render
from tasks.destinations import Local
from tasks.destinations.file_errors import explained
from tasks.discovery import Found, discover
from tasks.errors import Occupied
from tasks.repository import create_keys
from tasks.secret import Secret
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.session import Session


@subcommand("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--destination", type=click.Path(path_type=Path), default="backups", help="The folder to back up to.")
@click.option("--passphrase", metavar="REFERENCE", help="Use the one in `env:NAME` or `file:PATH`; default: make one.")
@click.option("--recovery-sheet", type=click.Path(path_type=Path), help="Write the recovery sheet there, not here.")
def command(
    session: Session, folder: Path, destination: Path, passphrase: str | None, recovery_sheet: Path | None
) -> None:
    """Write a commented backup.toml for what is found in FOLDER, and make the keys."""
    folder = folder.absolute()
    file, keys = folder / FILE, folder / "keys"
    for taken in (file, keys / "keyring.json", keys / "writer.key"):
        if os.path.lexists(taken):
            raise Occupied(f"`{taken}` is there already, and was left as it is: move it away, or edit it")
    if recovery_sheet is not None and os.path.lexists(recovery_sheet):
        raise Occupied(f"`{recovery_sheet}` is there already: the recovery sheet needs a new file")
    found = discover(folder)
    own = keys / "passphrase"
    reference = passphrase or f"file:{keys.name}/{own.name}"
    secret = Secret.at(passphrase).read() if passphrase else secrets.token_urlsafe(24)
    document, writer, sheet = create_keys(secret)
    text = render(found, destination=destination, passphrase=reference)
    with explained("write", keys):
        keys.mkdir(mode=0o700, exist_ok=True)
        if not passphrase:
            _write(own, secret + "\n")
        _write(keys / "keyring.json", document.decode())
        _write(keys / "writer.key", writer.to_text())
        if recovery_sheet:
            _write(recovery_sheet, sheet)
        _write(file, text)
    settings = load(file)
    Local(Local.Settings(kind="local", path=folder / destination)).prepare()
    if session.as_json:
        shown = None if recovery_sheet else sheet
        screen.print_json({"file": file, "keys": keys, "sources": list(settings.sources), "recovery_sheet": shown})
        return
    _print(found, file, list(settings.sources), sheet, recovery_sheet)


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _print(found: Found, file: Path, sources: list[str], sheet: str, recovery_sheet: Path | None) -> None:
    out = screen.console.print
    count = "1 source" if len(sources) == 1 else f"{len(sources)} sources"
    out(f"Wrote {file} for {count}: {', '.join(sources)}", markup=False, soft_wrap=True)
    for service in found.services:
        found_there = f"Found {service.kind} on {service.address}"
        out(f"{found_there}: if it wants a password, its source has to say where", markup=False, soft_wrap=True)
    out(f"Made the keys in {file.parent / 'keys'}", markup=False, soft_wrap=True)
    if recovery_sheet:
        out(f"Wrote the recovery sheet to {recovery_sheet}: print it, lock it away, delete the file", markup=False)
    else:
        out(
            "\n[bold]Recovery sheet.[/] Print it and lock it away: it opens every backup when the passphrase is lost.\n"
        )
        out("\n".join(f"    {line}" for line in sheet.splitlines()), markup=False)
    out("\nNext: [bold]geometra-backup check[/], then [bold]geometra-backup run[/].")

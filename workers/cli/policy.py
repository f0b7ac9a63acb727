"""`policy`: the least rights that a role needs at a destination, and what to type to give them."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from tasks.destinations.rights import ROLES, Role, rights
from tasks.errors import NotFound
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.session import Session


@subcommand("policy")
@click.argument("destination")
@click.option("--role", type=click.Choice(ROLES), required=True, help="Who is to have these rights.")
@click.option("--document", is_flag=True, help="Only the document, as the service's own tool takes it.")
def command(session: Session, destination: str, role: Role, document: bool) -> None:
    """Show the least rights that a role needs at DESTINATION, with its bucket filled in, and how to give them.

    A writer captures and uploads, a pruner verifies and prunes, a reader restores. Nothing is changed.
    """
    settings = session.installation.destination_settings(destination)
    found = rights(destination, settings, role)
    if document:
        if found.document is None:
            raise NotFound(f"`{destination}` is of kind `{settings.kind}`, which takes no document")
        click.echo(json.dumps(found.document, indent=2))
    elif session.as_json:
        screen.print_json({"destination": destination, "kind": settings.kind, **asdict(found)})
    else:
        for note in found.notes:
            click.echo(f"# {note}")
        if found.document is not None:
            click.echo(json.dumps(found.document, indent=2))
        for line in found.commands:
            click.echo(line)

"""`options`: every option of backup.toml and of `restore -o`, from the schema itself."""

from __future__ import annotations

from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.session import Session


@subcommand("options")
def command(session: Session) -> None:
    """Every option of backup.toml, for each kind of source and destination, and of `restore -o` into a server.

    With --json: a JSON schema of backup.toml, for editors.
    """
    from tasks.configuration.reference import reference, schema

    if session.as_json:
        screen.print_json(schema())
    else:
        screen.console.print(reference(), markup=False, soft_wrap=True)

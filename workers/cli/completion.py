"""`completion`: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from workers.cli.main import group, subcommand
from workers.cli.session import Session

_PROGRAM, _VARIABLE = "geometra-backup", "_GEOMETRA_BACKUP_COMPLETE"


@subcommand("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(session: Session, shell: str) -> None:
    """Print the completion script for SHELL: `eval "$(geometra-backup completion bash)"`."""
    if kind := get_completion_class(shell):
        click.echo(kind(group, {}, _PROGRAM, _VARIABLE).source())

"""`celery -A workers backup ...`: the same commands under Celery's own command line."""

from __future__ import annotations

import click

from workers.cli.main import group, main


@click.command(
    "backup",
    short_help=group.help and group.help.splitlines()[0],
    # All that follows is for our own command line, `--help` too: its messages and its exit codes are the same then.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def backup(arguments: tuple[str, ...]) -> None:
    main(list(arguments))

"""`celery -A workers backup ...`: the same commands under Celery's own command line."""

from __future__ import annotations

import click

from workers.cli.main import group

backup = click.Group(
    "backup", help=group.help, params=group.params, callback=group.callback, invoke_without_command=False
)
backup.list_commands = group.list_commands  # type: ignore[method-assign]  # one table of commands for both
backup.get_command = group.get_command  # type: ignore[method-assign]

"""`metrics`: what Flower's `/metrics` tells of the backups, printed once; and the alert rules for it."""

from __future__ import annotations

import click

from workers.cli.main import subcommand
from workers.cli.session import Session


@subcommand("metrics")
@click.option("--alerts", is_flag=True, help="Print the alert rules for Prometheus instead.")
def command(session: Session, alerts: bool) -> None:
    """The metrics of every source at every destination, in Prometheus' text format.

    Where Flower runs, its /metrics has them too; this is for where it does not, such as node_exporter's textfile
    collector: `geometra-backup metrics > backup.prom.new && mv backup.prom.new backup.prom`.
    """
    from workers.metrics import ALERTS

    if alerts:
        click.echo(ALERTS.read_text(encoding="utf-8"), nl=False)
        return
    from prometheus_client import CollectorRegistry, generate_latest

    from workers.metrics import Gathered

    gathered, registry = Gathered(session.installation), CollectorRegistry()
    gathered.gather()
    registry.register(gathered)
    click.echo(generate_latest(registry).decode(), nl=False)

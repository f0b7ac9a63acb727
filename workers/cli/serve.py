"""`serve`: broker, workers and beat on one machine, in the foreground, until it is told to stop."""

from __future__ import annotations

import signal
import threading

import click

from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.session import Session
from workers.embedded import embedded
from workers.pools import POOLS


@subcommand("serve")
@click.option("-p", "--pool", "pools", multiple=True, type=click.Choice([p.name for p in POOLS]), help="Only these.")
@click.option("--concurrency", type=click.IntRange(min=1), default=2, show_default=True, help="Tasks at a time.")
@click.option("--no-beat", is_flag=True, help="Start no plan by its schedule.")
def command(session: Session, pools: tuple[str, ...], concurrency: int, no_beat: bool) -> None:
    """Run everything that a single machine needs, for systemd or a terminal: the nights start by themselves."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with embedded(
        session.settings,
        session.file,
        pools=pools,
        beat=not no_beat,
        concurrency=concurrency,
        passphrase=session.passphrase(),
    ):
        names = ", ".join(pools or (pool.name for pool in POOLS))
        logs = session.settings.state / "logs"
        screen.errors.print(f"Serving {names}; logs in {logs}. Stop with Ctrl-C.", markup=False, soft_wrap=True)
        stop.wait()
        screen.errors.print("Stopping: tasks under way are brought to an end.")

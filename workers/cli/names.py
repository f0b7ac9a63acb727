"""The names that a shell completes: of sources, plans, destinations, and of snapshots as far as they can be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from tasks.errors import BackupError

if TYPE_CHECKING:
    from workers.cli.session import Session

SHOWN = 50
"""Of the snapshots only the newest."""


class Named(click.ParamType[str]):
    """A name as it was typed: whether there is such a thing, the command itself says. Where nothing can be found out,
    as without a backup.toml, nothing is completed, and nothing is said."""

    def __init__(self, name: str, known: Callable[[click.Context], Iterable[str]]) -> None:
        self.name = name
        self._known = known

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return [CompletionItem(name) for name in self._known(ctx) if name.startswith(incomplete)]
        except (BackupError, OSError):
            return []


def _session(ctx: click.Context) -> Session:
    """One of its own: of a command line that is only half typed there is none."""
    from workers.cli.session import Session

    return Session(ctx.find_root().params.get("config"), as_json=False)


def _sources(ctx: click.Context) -> Iterable[str]:
    return _session(ctx).settings.sources


def _plans(ctx: click.Context) -> Iterable[str]:
    return _session(ctx).settings.plans


def _source(ctx: click.Context) -> str | None:
    """The one that stands before. Before an option that still lacks its value click has put it nowhere yet."""
    return ctx.params.get("source") or next(iter(ctx.args), None)


def _destinations(ctx: click.Context) -> Iterable[str]:
    session, source = _session(ctx), _source(ctx)
    return session.destinations(source, None) if source else session.settings.destinations


def _snapshots(ctx: click.Context) -> Iterable[str]:
    source = _source(ctx)
    if source is None:
        return []
    _, repository = _session(ctx).repository(source, ctx.params.get("destination"))
    return ["latest", *reversed(repository.snapshot_ids()[-SHOWN:])]


SOURCE, PLAN, DESTINATION = Named("source", _sources), Named("plan", _plans), Named("destination", _destinations)
SNAPSHOT = Named("snapshot", _snapshots)

BY_PARAMETER = {
    # what a command's parameters are called, and what they take
    **dict.fromkeys(("source", "sources"), SOURCE),
    **dict.fromkeys(("destination", "origin"), DESTINATION),
    **dict.fromkeys(("snapshot", "older", "newer", "forget"), SNAPSHOT),
    "plan": PLAN,
}

"""Whether another machine writes into a source's history, where it is this one's alone."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.broker import is_embedded
from tasks.settings import Settings

LOOKED_AT = 10
"""So many of the newest snapshots count: a machine that was replaced is no matter any more."""


def other_host(settings: Settings, hosts: Sequence[str]) -> str:
    """What is wrong, empty where nothing is. `hosts`: of the snapshots, oldest first. With a broker of all hosts, any
    of them may capture a source; without one, a snapshot of another host that is newer than one of this host's means
    that each of two machines takes the history for its own: it restores what the other captured, and lets its own go.
    """
    if not is_embedded(settings):
        return ""
    last = list(hosts[-LOOKED_AT:])
    since = last[last.index(settings.host) :] if settings.host in last else []
    others = [host for host in since if host != settings.host]
    if not others:
        return ""
    return (
        f"`{others[-1]}` backs up into it too, as its own: call the source otherwise on one of the two machines, or let"
        " it store in another folder, bucket or `prefix`"
    )

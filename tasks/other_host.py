"""Whether another machine writes into a source's history, where it is this one's alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tasks.broker import is_embedded
from tasks.settings import Settings

LOOKED_AT = 10
"""So many of the newest snapshots count: a machine that was replaced is no matter any more."""

_IN_TURN = 3
"""Changes from one machine to the other that are no standing in."""


def other_host(settings: Settings, hosts: Sequence[str]) -> str:
    """What is wrong, empty where nothing is. `hosts`: of the snapshots, oldest first. With a broker of all hosts, any
    of them may capture a source; without one, a snapshot of another host that is newer than one of this host's means
    that each of two machines takes the history for its own: it restores what the other captured, and lets its own go.
    One that stood in for this one, once, is no matter when this one has gone on.
    """
    last = list(hosts[-LOOKED_AT:])
    if not is_embedded(settings) or settings.host not in last:
        return ""
    turns = sum(one != next_one for one, next_one in pairwise(last))
    others = [host for host in last[last.index(settings.host) :] if host != settings.host]
    if not others or (last[-1] == settings.host and turns < _IN_TURN):
        return ""
    return (
        f"`{others[-1]}` backs up into it too, as its own: call the source otherwise on one of the two machines, or let"
        " it store in another folder, bucket or `prefix`"
    )

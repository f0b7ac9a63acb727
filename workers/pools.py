"""One table: which pool of workers serves which tasks, how many at once, and which keys it must hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Pool:
    """`tasks` are names, or patterns such as `backup.*`; the first pool in the table that has a task gets it. The queue
    is named as the pool; a pool that is `by_host` has one queue more for each host, for what lies on its disk."""

    name: str
    tasks: tuple[str, ...]
    concurrency: int
    keys: Literal["none", "writer", "reader"]
    by_host: bool = False

    def queues(self, host: str) -> tuple[str, ...]:
        return (self.name, host_queue(self.name, host)) if self.by_host else (self.name,)


POOLS: tuple[Pool, ...] = (
    Pool("databases", ("backup.redis", "backup.postgres"), concurrency=2, keys="writer"),
    Pool("vectors", ("backup.chroma",), concurrency=1, keys="writer"),
    Pool("models", ("backup.models", "backup.models.part"), concurrency=1, keys="writer"),
    Pool("files", ("backup.*",), concurrency=2, keys="writer"),
    Pool("transfer", ("upload", "mirror", "spool.*"), concurrency=2, keys="writer", by_host=True),
    Pool("proof", ("verify", "verify.part", "prune"), concurrency=1, keys="reader"),
    Pool("drill", ("drill",), concurrency=1, keys="reader"),
    Pool("restore", ("restore", "restore.part"), concurrency=1, keys="reader"),
    Pool("control", ("plan.*", "runs.*", "report"), concurrency=1, keys="none"),
)


def host_queue(pool: str, host: str) -> str:
    return f"{pool}.{host}"


def pool_of(task: str) -> Pool | None:
    """The pool that serves a task; None for one that is not ours."""
    return next((pool for pool in POOLS if any(fnmatchcase(task, pattern) for pattern in pool.tasks)), None)


def queues(host: str, pools: Iterable[str] = ()) -> tuple[str, ...]:
    """The queues of some pools, or of all, as one host's workers serve them. Raises `ValueError` for no pool's name."""
    wanted = tuple(pools)
    known = {pool.name: pool for pool in POOLS}
    for name in wanted:
        if name not in known:
            raise ValueError(f"there is no pool `{name}`; known: {', '.join(known)}")
    return tuple(queue for name in wanted or known for queue in known[name].queues(host))


def route(name: str, args: Any = (), *_: Any, **__: Any) -> dict[str, str] | None:
    """Celery's router. A step that needs a host's disk goes to that host's queue: the outcome of the step before, its
    first argument, names the host, and a retry carries it along."""
    pool = pool_of(name)
    if pool is None:
        return None
    before = args[0] if args else None
    if pool.by_host and isinstance(before, Mapping) and before.get("host"):
        return {"queue": host_queue(pool.name, str(before["host"]))}
    return {"queue": pool.name}

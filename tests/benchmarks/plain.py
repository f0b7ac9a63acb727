"""Celery as it comes, with tasks that do nothing, in the shape of a night: what there is to compare with."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chain, signature

app = Celery("plain", broker=os.environ.get("PLAIN_BROKER"), backend=os.environ.get("PLAIN_BROKER"))
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_default_queue="plain")
VERBS = ("backup", "upload", "verify", "prune")


def _make(verb: str) -> Any:
    @app.task(name=f"plain.{verb}")
    def work(previous: Any = None, *, source: str) -> dict[str, str]:
        return {"verb": verb, "source": source}

    return work


TASKS = {verb: _make(verb) for verb in VERBS}


@app.task(name="plain.join")
def join(previous: Any = None) -> bool:
    return True


def night(sources: int) -> list[Any]:
    """Send a chain for each source, of five tasks; the results of the last ones."""
    chains = []
    for number in range(sources):
        links = [TASKS[verb].s(source=f"source{number}") for verb in VERBS]
        chains.append(chain(*links, signature("plain.join", app=app)))
    return [each.apply_async() for each in chains]

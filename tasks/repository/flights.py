"""Work on several packs at once: few enough to hold them in memory, and stopped by the first that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4
"""Packs under way from one destination to another: each may be held in memory, some 32 MiB."""
_LOOK_SECONDS = 1.0


def fly(
    work: Callable[[T], R], packs: Iterable[T], landed: Callable[[T, R], None], look: Callable[[], None] = lambda: None
) -> None:
    """`work` on each pack in a thread, in their order and `AT_ONCE` at a time; `landed` and, each second, `look` are
    called by the thread that calls this. What work raises first is raised, after no further pack was begun and those
    under way have landed, for half of a request can't be taken back."""
    waiting = iter(packs)
    failure: BaseException | None = None
    with ThreadPoolExecutor(AT_ONCE, "flight") as pool:
        flying: dict[Future[R], T] = {}
        while True:
            while not failure and len(flying) < AT_ONCE and (pack := next(waiting, None)) is not None:
                flying[pool.submit(work, pack)] = pack
            if not flying:
                break
            for future in wait(flying, _LOOK_SECONDS, FIRST_COMPLETED).done:
                pack = flying.pop(future)
                if error := future.exception():
                    failure = failure or error
                else:
                    landed(pack, future.result())
            look()
    if failure:
        raise failure

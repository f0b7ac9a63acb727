"""Work on several packs or other objects at once: few enough for memory, and stopped by the first that fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4
"""Packs under way from one destination to another: each takes some 32 MiB of this host's disk."""
_LOOK_SECONDS = 1.0
_SMALL_AT_ONCE = 8
"""Objects of some kilobytes: a destination that is far away is asked for the next ones before the first has come."""


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


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, is_small: Callable[[T], bool] = lambda item: True
) -> Iterator[R]:
    """What `work` gives for each item, in their order; while one is looked at, the next few are under way in threads,
    but for large ones, which wait for their turn. Raises what work does, when it is that item's turn."""
    with ThreadPoolExecutor(_SMALL_AT_ONCE, "ahead") as pool:
        coming = (pool.submit(work, item).result if is_small(item) else partial(work, item) for item in items)
        flying = deque(islice(coming, _SMALL_AT_ONCE))
        while flying:
            found = flying.popleft()()
            flying.extend(islice(coming, 1))
            yield found

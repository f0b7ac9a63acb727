"""What a snapshot says of its flaws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tasks.item import Flaw
from tasks.repository.snapshot import Flawed

_MOST_FLAWS = 1000


class Judged(NamedTuple):
    """Of flaws: as many as a snapshot lists, the grave ones first; how many there are; whether all are `allowed`."""

    first: tuple[Flawed, ...]
    total: int
    allowed: bool


def judged(flaws: Iterable[Flaw], patterns: tuple[str, ...]) -> Judged:
    """One by one: there may be a million files, none of which this user may read."""
    spec, total, grave, allowed = None, 0, list[Flawed](), list[Flawed]()
    for flaw in flaws:
        if spec is None:
            import pathspec

            spec = pathspec.GitIgnoreSpec.from_lines(patterns)
        total += 1
        path = flaw.path.decode(errors="surrogateescape")
        kept = allowed if spec.match_file(path) else grave
        if len(kept) < _MOST_FLAWS:
            kept.append(Flawed(path, flaw.what, flaw.why, kept is allowed))
    return Judged((*grave, *allowed)[:_MOST_FLAWS], total, not grave)

"""A long history in sections, so that a night reads what is new and not all of it again.

A section is a bundle of its own: all that one commit reaches and no section before it does. It stays as it is, night
after night; `repository.bundle` has the rest, which is read again whenever anything has changed. When the rest has
grown, the newest commit ends a further section. Where the history no longer has a section's commit, or they are many,
one section begins anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tasks.item import Entry
from tasks.sources.git.command import Git, GitFailed, GitKilled
from tasks.sources.git.view import View

BUNDLE = b"repository.bundle"
HISTORY = b"history"
_NAME = re.compile(HISTORY + rb"/(\d{4})-([0-9a-f]{40}|[0-9a-f]{64})\.bundle")
_LARGE = 16 << 20
"""Bytes from which on a section is worth its keep."""
_MOST = 12

Version = tuple[int, int]


class Section(NamedTuple):
    """What `commit` reaches, without what sections of lower numbers hold."""

    number: int
    commit: bytes

    @property
    def name(self) -> bytes:
        return b"%s/%04d-%s.bundle" % (HISTORY, self.number, self.commit)

    @property
    def reference(self) -> bytes:
        """What the bundle calls its commit: git wants a name for it."""
        return b"refs/geometra/section-%04d" % self.number


def section(name: bytes) -> Section | None:
    """The one whose item has that name in its repository."""
    found = _NAME.fullmatch(name)
    return Section(int(found[1]), found[2]) if found else None


def is_bundle(name: bytes) -> bool:
    """Whether the item of that name in its repository holds history."""
    return name == BUNDLE or section(name) is not None


def sections(view: View, last: Mapping[bytes, Entry], version: Callable[[list[Section]], Version]) -> list[Section]:
    """Those of this night, in order. `last` are the bundles of the last snapshot, by their names; `version` tells that
    of the rest, which only divides anew what is to be read again. Raises `GitFailed`."""
    named, git = view.named, view.reflection.git
    head = named.head_commit
    if not head or named.shallow or named.partial:
        return []
    kept = sorted(filter(None, map(section, last)))
    if not _are_part(git, kept, view.tips):
        kept = []
    rest = last[BUNDLE].size if BUNDLE in last else 0
    if BUNDLE in last and last[BUNDLE].version == version(kept):
        return kept
    if not kept:
        return [Section(1, head)] if max(rest, _packed(view)) >= _LARGE else []
    if rest < _LARGE or not _is_most(git, head, view.tips, kept):
        return kept
    return [*kept, Section(kept[-1].number + 1, head)] if len(kept) < _MOST else [Section(1, head)]


def _are_part(git: Git, kept: list[Section], tips: list[bytes]) -> bool:
    """Whether all of them are part of the history still."""
    if [each.number for each in kept] != list(range(1, len(kept) + 1)):
        return False
    try:
        return not kept or not _count(git, (each.commit for each in kept), without=tips)
    except GitKilled:
        raise
    except GitFailed:
        return False


def _is_most(git: Git, head: bytes, tips: list[bytes], kept: list[Section]) -> bool:
    """Whether what is new is most of all in what HEAD names, and not in other branches, which would stay the rest."""
    known = [each.commit for each in kept]
    return 2 * _count(git, (head,), without=known) > _count(git, tips, without=known)


def _count(git: Git, tips: Iterable[bytes], *, without: Iterable[bytes]) -> int:
    """Of commits."""
    lines = [*tips, *(b"^" + each for each in without)]
    return int(git.run("rev-list", "--count", "--stdin", given=b"".join(line + b"\n" for line in lines)))


def _packed(view: View) -> int:
    """The bytes that git keeps the objects in, which are more in a bundle."""
    lines = view.repository.git().run("count-objects", "-v").splitlines()
    told = dict(line.partition(b": ")[::2] for line in lines)
    return 1024 * (int(told.get(b"size", 0)) + int(told.get(b"size-pack", 0)))

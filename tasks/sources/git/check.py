"""What would go wrong with a repository tonight, or be missing from its backup, found without changing anything."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from itertools import islice

from tasks.sources.git.command import GitFailed
from tasks.sources.git.repository import Repository, working_trees
from tasks.sources.git.view import Manner, View, look
from tasks.sources.path_text import path_text
from tasks.sources.source import Problem

_SAMPLES = 5


def repository_problems(repository: Repository, manner: Manner, kept: Collection[bytes]) -> Iterator[Problem]:
    """`kept` are the working trees and git directories of all repositories of the source."""
    name = path_text(repository.path)
    try:
        view = look(repository, manner)
        view.count_objects()
        trees = [tree for tree in working_trees(repository.git()) if os.path.realpath(tree) != repository.path]
    except GitFailed as error:
        yield Problem(f"`{name}` can't be read: {error}", "see `git fsck` there, or restore it from a good copy")
        return
    yield from _in_itself(view, name)
    yield from _around(view, name, trees, kept)
    yield from _large_files(view, manner, name)


def _in_itself(view: View, name: str) -> Iterator[Problem]:
    for reference in view.named.missing[:_SAMPLES]:
        yield Problem(
            f"`{name}`: `{path_text(reference)}` names an object that is not there",
            "see `git fsck`, then delete the reference or fetch the object; each snapshot is incomplete until then",
        )
    tree = view.repository.git().run("config", "core.worktree", allowed=(0, 1)).strip()
    if tree and view.repository.tree is None:
        yield Problem(
            f"`{name}` is the git directory of the working tree `{path_text(tree)}`: what is not committed is not kept",
            "name the working tree instead, if it has a `.git` that leads here",
            fatal=False,
        )
    if view.named.shallow:
        yield Problem(
            f"`{name}` is a shallow clone: its older history is not here, so it is not kept",
            "fetch the rest with `git fetch --unshallow`, or keep the repository that it was cloned from",
            fatal=False,
        )
    if view.named.partial:
        yield Problem(
            f"`{name}` is a partial clone: what was never fetched is not kept, and a copy needs its remote as well",
            "clone it without `--filter`, or keep the repository that it was cloned from",
            fatal=False,
        )


def _around(view: View, name: str, trees: list[bytes], kept: Collection[bytes]) -> Iterator[Problem]:
    """Other repositories that a person may expect to be kept with this one."""
    top = view.repository.tree or view.repository.path
    inside = [os.path.join(top, path) for path in view.index.submodules]
    groups = (
        ("the submodule", "its commit is noted, its history is not kept", inside),
        ("the linked working tree", "its commits are kept, what is not committed there is not", trees),
    )
    for what, why, folders in groups:
        unnamed = [path for path in sorted(folders) if _is_there(path) and os.path.realpath(path) not in kept]
        for path in unnamed[:_SAMPLES]:
            yield Problem(
                f"`{name}`: {what} `{path_text(path)}` is not among `repositories`: {why}",
                "name it there too, unless it is kept elsewhere",
                fatal=False,
            )
    nested = (path for path in sorted(view.changes.nested) if path not in view.index.submodules)
    for path in islice(nested, _SAMPLES):
        yield Problem(
            f"`{name}` holds the repository `{path_text(path)}`, which it does not track: it is kept file by file",
            "name it among `repositories` and in `exclude`, so that it is kept as a repository",
            fatal=False,
        )


def _large_files(view: View, manner: Manner, name: str) -> Iterator[Problem]:
    missing = [each for each in view.pointers if not os.path.exists(each.object_in(view.repository.common))]
    if missing and manner.lfs:
        yield Problem(
            f"`{name}`: {len(missing)} large files of Git LFS were never fetched, so only their pointers are kept; the"
            f" first is `{path_text(missing[0].path)}`",
            "fetch them with `git lfs fetch`, or keep the LFS server",
            fatal=False,
        )
    if view.pointers and not manner.lfs:
        yield Problem(
            f"`{name}`: the large files of Git LFS are not kept, as `lfs = false` says",
            "keep the LFS server, or remove that line",
            fatal=False,
        )


def _is_there(folder: bytes) -> bool:
    return os.path.lexists(os.path.join(folder, b".git"))

"""What is counted of a repository while it is captured, and counted again in a restored copy."""

from __future__ import annotations

import os

from tasks.errors import Unavailable
from tasks.item import Facts
from tasks.sources.git.changes import submodule_urls
from tasks.sources.git.command import GitFailed, GitKilled
from tasks.sources.git.view import Manner, View
from tasks.sources.path_text import path_text

_NAMED = 100


def repository_facts(view: View, manner: Manner, *, whole: bool, objects: int | None = None) -> Facts:
    """`whole` says that all that is named was stored, or in a copy, that all that is named is there; `objects` are
    counted where it is not known how many they are. Of long lists, the first hundred are named. Raises `Unavailable`
    where its git was killed."""
    named, changes, index = view.named, view.changes, view.index
    try:
        objects = view.count_objects() if objects is None else objects
    except GitKilled as error:
        raise Unavailable(str(error)) from error
    except GitFailed:
        objects, whole = 0, False
    facts: Facts = {
        "whole": whole,
        "objects": objects,
        "object_format": named.object_format,
        "head": path_text(named.head),
        "head_commit": path_text(named.head_commit or b""),
        "references": len(named.named),
        "references_digest": named.digest().hex(),
        "named_references": {path_text(name): path_text(value) for name, value in sorted(named.named.items())[:_NAMED]},
        "stashed": len(named.stash),
        "shallow": bool(named.shallow),
        "partial": named.partial,
        "submodules": len(index.submodules),
        "named_submodules": _submodules(view),
        "lfs": _lfs(view, manner),
    }
    if manner.uncommitted and view.repository.tree is not None:
        facts |= {
            "index_digest": index.digest,
            "staged": index.staged,
            "unmerged": len(index.unmerged),
            "modified": len(changes.modified),
            "deleted": len(changes.deleted),
            "untracked": len(changes.untracked),
            "nested_repositories": sorted(path_text(path) for path in changes.nested)[:_NAMED],
        }
    return facts


def _submodules(view: View) -> list[Facts]:
    urls = submodule_urls(view.reflection) if view.index.submodules else {}
    return [
        {"path": path_text(path), "url": path_text(urls.get(path, b"")), "commit": path_text(commit)}
        for path, commit in sorted(view.index.submodules.items())[:_NAMED]
    ]


def _lfs(view: View, manner: Manner) -> Facts:
    common = view.repository.common
    facts: Facts = {
        "pointers": len(view.pointers),
        "bytes": sum(pointer.size for pointer in view.pointers),
        "named": [
            {"path": path_text(pointer.path), "sha256": pointer.name, "size": pointer.size}
            for pointer in view.pointers[:_NAMED]
        ],
    }
    if manner.lfs:
        facts["missing"] = sum(not os.path.exists(pointer.object_in(common)) for pointer in view.pointers)
    return facts

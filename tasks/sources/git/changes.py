"""What a working tree and an index hold beside the commit that is checked out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from blake3 import blake3

from tasks.sources.git.command import GitFailed, without_credentials
from tasks.sources.git.reflection import Reflection
from tasks.sources.patterns import Patterns

_SUBMODULE = b"160000"
_NO_FILTER = (b"unspecified", b"unset", b"set")


@dataclass(slots=True)
class Index:
    """What the index says; `digest` is of all its entries, without times. `hidden` are files that git was told not to
    look at, but which are there; `filtered` those that a program converts on their way in, by the name of its filter:
    only that program could make them again."""

    submodules: dict[bytes, bytes] = field(default_factory=dict)
    unmerged: set[bytes] = field(default_factory=set)
    hidden: set[bytes] = field(default_factory=set)
    filtered: dict[bytes, bytes] = field(default_factory=dict)
    digest: str = ""
    staged: int = 0
    staged_objects: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Changes:
    """Paths below the working tree. `nested` are folders inside it that git does not look into: repositories of their
    own that it knows nothing of, and what stands in the place of a submodule.

    `taken` are all files that a checkout would not bring back as they are.
    """

    modified: set[bytes] = field(default_factory=set)
    deleted: set[bytes] = field(default_factory=set)
    untracked: set[bytes] = field(default_factory=set)
    nested: set[bytes] = field(default_factory=set)
    taken: set[bytes] = field(default_factory=set)


def read_index(reflection: Reflection, tree: bytes | None, head: bytes | None) -> Index:
    """The index of the reflection, compared with the commit `head`. Raises `GitFailed`."""
    git, found, digest = reflection.git, Index(), blake3()
    names = reflection.path(b"tracked")
    with open(names, "wb") as file:
        for record in git.records("ls-files", "-v", "--stage", "-z"):
            digest.update(record + b"\0")
            information, _, path = record.partition(b"\t")
            tag, mode, name, stage = information.split(b" ")
            if mode == _SUBMODULE:
                found.submodules[path] = name
                continue
            file.write(path + b"\0")
            if stage != b"0":
                found.unmerged.add(path)
                found.staged_objects.add(name)
            elif tree and (tag == b"S" or tag.islower()) and os.path.lexists(os.path.join(tree, path)):
                found.hidden.add(path)
    with open(names, "rb") as file:
        answers = git.records("check-attr", "-z", "--stdin", *([] if tree else ["--cached"]), "filter", given=file)
        for path in answers:
            next(answers)
            if (value := next(answers)) not in _NO_FILTER:
                found.filtered[path] = value
    found.digest = digest.hexdigest()
    if reflection.with_index:  # without a file of it, as a clone that checked nothing out has none, it is empty
        _compare(reflection, head, found)
    return found


def _compare(reflection: Reflection, head: bytes | None, found: Index) -> None:
    """What is staged: counted, and named, as the objects may be in no commit yet."""
    git = reflection.git
    commit = head or git.run("hash-object", "-t", "tree", "--stdin").strip()
    for record in git.records("diff-index", "--cached", "--raw", "--no-abbrev", "--no-renames", "-z", commit):
        if not record.startswith(b":"):
            continue
        _, mode, _, name, _ = record.split(b" ")
        found.staged += 1
        if mode != _SUBMODULE and name.strip(b"0"):
            found.staged_objects.add(name)


def read_changes(reflection: Reflection, tree: bytes, index: Index, exclude: Patterns) -> Changes:
    """What differs from the index, but what `exclude` matches. Raises `GitFailed`."""
    found, links = Changes(), set[bytes]()
    options = ("--modified", "--deleted", "--others", "--exclude-standard")
    for record in reflection.git.records("ls-files", "-t", "-z", *options):
        tag, path = record[:1], record[2:]
        if tag == b"?" and path.endswith(b"/"):
            if not exclude.match(path[:-1], folder=True):
                found.nested.add(path[:-1])
        elif tag == b"R":
            found.deleted.add(path)
        elif path not in index.submodules:
            if tag == b"?" and os.path.islink(os.path.join(tree, path)):
                links.add(path)
            if not exclude.match(path):
                (found.untracked if tag == b"?" else found.modified).add(path)
    if links:  # in the place of folders, some of them: `ls-files` looks through them, which git does nowhere else
        tracked = reflection.git.records("ls-files", "-z")
        found.deleted.update(path for path in tracked if any(path[:at] in links for at in _folder_ends(path)))
    found.deleted -= index.submodules.keys()
    for path in index.submodules:
        if not exclude.match(path, folder=os.path.isdir(os.path.join(tree, path))):
            _see_submodule(tree, path, found)
    found.modified -= found.deleted | index.filtered.keys()
    kept = {path for path in index.unmerged | index.hidden | index.filtered.keys() if not exclude.match(path)}
    there = {path for path in kept - found.deleted if os.path.lexists(os.path.join(tree, path))}
    found.taken = found.modified | found.untracked | there
    return found


def _see_submodule(tree: bytes, path: bytes, found: Changes) -> None:
    """What stands where one belongs, and is neither a repository nor a folder that waits for one: git looks past it."""
    place = os.path.join(tree, path)
    if os.path.islink(place) or os.path.isfile(place):
        found.modified.add(path)
    elif os.path.isdir(place) and not (os.path.lexists(os.path.join(place, b".git")) or _is_empty(place)):
        found.nested.add(path)


def _is_empty(folder: bytes) -> bool:
    try:
        return not os.listdir(folder)
    except OSError:
        return False  # who reads it says what is wrong


def _folder_ends(path: bytes) -> Iterator[int]:
    return (at for at, byte in enumerate(path) if byte == ord("/"))


def submodule_urls(reflection: Reflection) -> dict[bytes, bytes]:
    """Path -> URL, without any credentials in it, as .gitmodules in the index has it."""
    try:
        listed = reflection.git.run("config", "--blob", ":.gitmodules", "--null", "--list")
    except GitFailed:
        return {}
    paths: dict[bytes, bytes] = {}
    urls: dict[bytes, bytes] = {}
    for record in listed.split(b"\0"):
        key, _, value = record.partition(b"\n")
        name, _, option = key.rpartition(b".")
        if option in (b"path", b"url"):
            (paths if option == b"path" else urls)[name] = value
    return {path: without_credentials(urls.get(name, b"")) for name, path in paths.items()}

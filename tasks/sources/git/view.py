"""All that git tells of one repository at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.sources.git.bundle import count_objects
from tasks.sources.git.changes import Changes, Index, read_changes, read_index
from tasks.sources.git.command import GitFailed
from tasks.sources.git.lfs import Pointer, read_pointers
from tasks.sources.git.reflection import Reflection
from tasks.sources.git.repository import References, Repository, present, references
from tasks.sources.patterns import Patterns


@dataclass(frozen=True, slots=True)
class Manner:
    """What to keep of a repository: see the settings of the source."""

    uncommitted: bool
    lfs: bool
    exclude: Patterns


@dataclass(frozen=True, slots=True)
class View:
    """`tips` name all that is to be kept, but what only other working trees have checked out."""

    repository: Repository
    named: References
    reflection: Reflection
    index: Index
    changes: Changes
    pointers: list[Pointer]
    tips: list[bytes]

    def count_objects(self) -> int:
        """How many objects the tips reach. Raises `GitFailed` where one is missing."""
        return count_objects(self.reflection, self.tips)


def look(repository: Repository, manner: Manner) -> View:
    """Raises `GitFailed`."""
    named = references(repository)
    uncommitted = manner.uncommitted and repository.tree is not None
    try:
        reflection = Reflection(repository, named, with_index=uncommitted)
    except OSError as error:
        raise GitFailed(f"its index can't be copied: {error.strerror}") from error
    if not uncommitted and named.head_commit:
        # What the newest commit holds stands in for an index, so that submodules and pointers can be told.
        reflection.git.run("read-tree", named.head_commit)
    index = read_index(reflection, repository.tree, named.head_commit)
    changes = Changes()
    if repository.tree is not None and uncommitted:
        changes = read_changes(reflection, repository.tree, index, manner.exclude)
    # A file that is only announced to be added has an object in the index that is not there, and needs none.
    staged = present(reflection.git, index.staged_objects)
    return View(
        repository,
        named,
        reflection,
        index,
        changes,
        pointers=read_pointers(reflection, index.filtered),
        tips=sorted({*named.tips, *staged}),
    )

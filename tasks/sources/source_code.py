"""Source code: git repositories, with all their history, and what is not committed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from tasks.errors import BackupError, SettingsError, SourceError, Unavailable
from tasks.item import Entry, Facts, Flaw, Item, Stored, StoredItems
from tasks.settings import SourceSettings
from tasks.sources.content_reader import ContentReader
from tasks.sources.file_facts import OWNERS
from tasks.sources.filetree import PatternLines
from tasks.sources.git.capture import DOCUMENT, RepositoryCapture
from tasks.sources.git.check import repository_problems
from tasks.sources.git.cut_off import forget_run
from tasks.sources.git.repository import Repository, find
from tasks.sources.git.restore import RepositoryRestore
from tasks.sources.git.sections import BUNDLE, HISTORY, is_bundle
from tasks.sources.git.view import Manner
from tasks.sources.path_text import path_text
from tasks.sources.patterns import Patterns
from tasks.sources.roots import NamedPath, named_roots
from tasks.sources.source import Problem, Rehearsal, Restoring


class SourceCodeSettings(SourceSettings):
    """Git repositories: all branches, tags, other references and stashes, and what is not committed."""

    repositories: tuple[Path | NamedPath, ...] = Field(min_length=1)
    """The folders of working trees, or bare repositories. Each appears in the snapshot under its own name; where two
    have the same name, write one as `{ path = "/srv/b/site", name = "site-b" }`. Submodules are repositories of their
    own: name those that are to be kept too."""

    uncommitted: bool = True
    """Keep also the index, and files that are modified or untracked; never what .gitignore leaves out."""

    exclude: PatternLines = ()
    """Patterns, as in .gitignore, of modified and untracked files to leave out nevertheless."""

    lfs: bool = True
    """Keep also the large files that Git LFS has fetched."""


class SourceCode:
    """A `Source` of git repositories."""

    kind: ClassVar[str] = "source_code"
    Settings: ClassVar[type[SourceSettings]] = SourceCodeSettings

    def __init__(self, name: str, settings: SourceCodeSettings) -> None:
        self.name = name
        self.settings = settings

    def roots(self) -> dict[str, str]:
        """Each name at the top of a snapshot, and the absolute path of its repository. Raises `SourceError` where two
        would have one name."""
        return named_roots(self.settings.repositories)

    def check(self) -> list[Problem]:
        problems: list[Problem] = []
        found: list[Repository] = []
        try:
            roots = self.roots()
        except SourceError as error:
            return [Problem(str(error), "mend `repositories` in backup.toml")]
        for path in roots.values():
            try:
                found.append(find(Path(path)))
            except SourceError as error:
                problems.append(Problem(str(error), "mend `repositories` in backup.toml"))
        kept = {folder for each in found for folder in (each.path, each.folder)}
        try:
            for repository in found:
                problems += repository_problems(repository, self._manner(), kept)
        except SourceError as error:
            problems.append(Problem(str(error), "install git 2.32 or newer"))
        return problems

    def capture(self) -> SourceCodeCapture:
        repositories = {os.fsencode(label): find(Path(path)) for label, path in self.roots().items()}
        return SourceCodeCapture(repositories, self._manner())

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        """Each repository that is chosen as a whole is put back as a repository, ready to work in; of others, the
        chosen items as files. A repository is only ever put where nothing is: raises `Occupied` even with
        `how.overwrite`."""
        missed: list[str] = []
        try:
            for label, group in groupby(chosen, key=lambda item: item.entry.path.partition(b"/")[0]):
                missed += RepositoryRestore(items, label, group).into(into, how)
        except Unavailable:
            raise
        except BackupError:
            self.forget_run(into, how)
            raise
        return list(dict.fromkeys(missed))

    def forget_run(self, into: Path, how: Restoring) -> None:
        if how.run:
            forget_run(into, how.run)

    def examine(self, scratch: Path) -> Facts:
        """Raises `SourceError` where a repository was not put back."""
        repositories = {os.fsencode(label): find(scratch / label) for label in self.roots()}
        capture = SourceCodeCapture(repositories, self._manner())
        capture.examine()
        return capture.facts()

    def rehearse(self, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
        """Into a folder. Which repositories there were, and what was kept of them, is as `captured` tells: settings may
        have changed since. To whom files belong is not looked at."""
        missed = self.restore(items, items, scratch, Restoring(owners=False))
        labels = {path_text(label): label for label in os.listdir(os.fsencode(scratch))}
        looks = dict[str, Facts]()
        for name, told in captured.get("repositories", {}).items():
            try:
                looks[name] = _looked_at(labels.get(name, os.fsencode(name)), told, scratch)
            except SourceError:
                whole = bool(told.get("whole"))
                looks[name] = {"whole": False} if whole else told
                missed += [] if whole else [f"the repository `{name}`, which was not captured whole"]
        return Rehearsal(({"repositories": looks},), missed)

    def rehearsing(self) -> None:
        if shutil.which("git") is None:
            raise SettingsError("a drill of git repositories needs `git` on this host: install it")

    def _manner(self) -> Manner:
        settings = self.settings
        return Manner(settings.uncommitted, settings.lfs, Patterns(settings.exclude))


def _looked_at(label: bytes, told: Facts, scratch: Path) -> Facts:
    """The facts of one that was put back, in the manner that those which were captured tell of."""
    manner = Manner("index_digest" in told, "missing" in told.get("lfs", {}), Patterns(()))
    capture = SourceCodeCapture({label: find(scratch / os.fsdecode(label))}, manner)
    capture.examine()
    (found,) = capture.facts()["repositories"].values()
    if "files" in found:
        counted = {name: fact for name, fact in found["files"].items() if name != OWNERS}
        found["files"] = told.get("files", {}) | counted
    return dict(found)


class SourceCodeCapture:
    """A `Capture` of git repositories."""

    def __init__(self, repositories: dict[bytes, Repository], manner: Manner) -> None:
        self._captures = {
            label: RepositoryCapture(label, repository, manner) for label, repository in sorted(repositories.items())
        }

    def compare(self, facts: Facts, items: Iterable[Stored]) -> None:
        bundles: dict[bytes, dict[bytes, Entry]] = {}
        for item in items:
            label, _, name = item.entry.path.partition(b"/")
            if is_bundle(name):
                bundles.setdefault(label, {})[name] = item.entry
        for label, capture in self._captures.items():
            capture.compare(facts.get("repositories", {}).get(path_text(label), {}), bundles.get(label, {}))

    def __iter__(self) -> Iterator[Item]:
        for capture in self._captures.values():
            yield from capture

    def stored(self, item: Stored) -> None:
        self._captures[item.entry.path.partition(b"/")[0]].stored(item)

    def flaws(self) -> Iterable[Flaw]:
        for capture in self._captures.values():
            yield from capture.flaws

    def facts(self) -> Facts:
        return {"repositories": {path_text(label): each.facts() for label, each in self._captures.items()}}

    def examine(self) -> None:
        """Reads everything but the histories, which git itself checks. Raises `Unavailable` where that was killed."""
        reader = ContentReader()
        for item in self:
            name = item.entry.path.split(b"/")[1:2]
            if name not in ([BUNDLE], [HISTORY], [DOCUMENT]):
                self.stored(Stored(reader.read(item)))
        for capture in self._captures.values():
            capture.whole = capture.is_connected()
            if capture.killed:
                raise Unavailable("a git that looked at what came back was ended: is the machine out of memory?")

"""One repository, as items: `git/` (its own files but objects and references), `repository.bundle` (the history, of
which a long one has sections in `history/`), `repository.json` (what a bundle can't say) and `working-tree/` (what is
not committed)."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from functools import partial

from blake3 import blake3

from tasks.item import FILE, Entry, Facts, Flaw, Item, Stored
from tasks.sources.file_entry import OwnerNames, file_entry, other_entry
from tasks.sources.file_facts import FileFacts
from tasks.sources.git import cut_off
from tasks.sources.git.bundle import CUT, BundleHead, BundleStream
from tasks.sources.git.command import GitFailed, GitKilled
from tasks.sources.git.document import Document
from tasks.sources.git.facts import repository_facts
from tasks.sources.git.picked import Picked
from tasks.sources.git.repository import Repository
from tasks.sources.git.sections import BUNDLE, Section, Version, sections
from tasks.sources.git.view import Manner, View, look
from tasks.sources.manner import Manner as WalkManner
from tasks.sources.own_stream import CopiedFile, InMemory
from tasks.sources.path_text import path_text
from tasks.sources.selection import Selection
from tasks.sources.walk import Walk

DOCUMENT, OWN, TREE = b"repository.json", b"git", b"working-tree"
_NOT_KEPT = (
    # Told by the bundle and by `repository.json`:
    *("/objects/", "/refs/", "/packed-refs", "/reftable/", "/HEAD", "/index", "/sharedindex.*"),
    # Of use only to other repositories, to this machine, or for a moment:
    *("/modules/", "/worktrees/", "/commondir", "/gitdir", "/locked", "/logs/", "/FETCH_HEAD", "/ORIG_HEAD"),
    *("*.lock", "/gc.pid", "/gc.log", "/fsmonitor--daemon*", "/lfs/tmp/", "/lfs/incomplete/"),
    # Of a restore that was cut off:
    f"/{cut_off.NAME.decode()}",
)
_SHARED = ("/config", "/description", "/hooks/", "/info/", "/lfs/objects/")
"""What a linked working tree takes from the repository that it belongs to."""
_NOT_COUNTED = (DOCUMENT, OWN + b"/config", OWN + b"/index", OWN + b"/sharedindex.")
"""What need not be the same byte for byte in a copy: a configuration may name a place, and an index holds times. Nor
need the time of the git directory itself, which any command may change."""
_LATEST = (1 << 63) - 1


class RepositoryCapture:
    """One pass over one repository. A git that fails is a flaw, as other repositories may be well."""

    def __init__(self, label: bytes, repository: Repository, manner: Manner) -> None:
        self.flaws: list[Flaw] = []
        self.whole = True
        """Whether everything that the repository names was stored."""
        self.killed = False
        """Whether a git was ended by somebody, so that what is not `whole` may be."""
        self._label = label
        self._repository = repository
        self._manner = manner
        self._view: View | None = None
        self._owners = OwnerNames()
        self._files = FileFacts()
        self._objects: int | None = None
        self._last: Mapping[bytes, Entry] = {}
        self._bundles: set[bytes] = set()

    def compare(self, facts: Facts, bundles: Mapping[bytes, Entry]) -> None:
        """Before the iteration, with what the last snapshot holds: a history that is not read again is not counted
        again, which would take longer than all else; and its sections stay."""
        if facts.get("whole"):
            self._objects, self._last = facts["objects"], bundles

    def __iter__(self) -> Iterator[Item]:
        try:
            view = self._view = look(self._repository, self._manner)
            newest, parts = _newest(view), sections(view, self._last, partial(_version, view))
        except GitFailed as error:
            self.killed = isinstance(error, GitKilled)
            self._flaw("unreadable", str(error))
            return
        for name in view.named.missing:
            self._flaw("partial", f"{path_text(name)} names an object that is not there: see `git fsck`")
        yield Item(other_entry(self._label, os.lstat(self._repository.path), self._owners))
        yield from self._own_files(view)
        if view.tips:
            self.whole = False  # until all is stored
            self._bundles = {BUNDLE, *(each.name for each in parts)}
            yield from self._history(view, parts, newest)
        else:
            self._objects = None
        document = _document(view, self._manner, parts)
        entry = self._entry(DOCUMENT, size=len(document), mtime_ns=newest)
        yield Item(entry, partial(InMemory, document, entry))
        yield from self._changed_files(view)

    def stored(self, item: Stored) -> None:
        name = self._name(item.entry.path)
        if name in self._bundles:
            self._bundles.discard(name)
            self.whole = not self._bundles and not any(self._name(flaw.path) == BUNDLE for flaw in self.flaws)
        elif name != OWN and not name.startswith(_NOT_COUNTED):
            self._files.add(item.entry)

    def facts(self) -> Facts:
        """Once everything was `stored`."""
        if self._view is None:
            return {"whole": False}
        counted = repository_facts(self._view, self._manner, whole=self.whole, objects=self._objects)
        return counted | {"files": self._files.facts()}

    def is_connected(self) -> bool:
        """Whether git finds all that is named, by its own means."""
        try:
            self._repository.git().run("fsck", "--connectivity-only", "--no-dangling", "--no-progress")
        except GitFailed as error:
            self.killed = self.killed or isinstance(error, GitKilled)
            return False
        return self._view is not None and not self._view.named.missing

    def _own_files(self, view: View) -> Iterator[Item]:
        folder, common = self._repository.folder, self._repository.common
        left_out = _NOT_KEPT if self._manner.lfs else (*_NOT_KEPT, "/lfs/")
        parts = [self._walk(folder, Selection(exclude=left_out)), self._indexes(view)]
        if common != folder:
            parts.append(self._walk(common, Selection(_SHARED, left_out)))
        last = b""
        for item in heapq.merge(*parts, key=lambda item: item.entry.path.split(b"/")):
            if item.entry.path != last:
                yield item
            last = item.entry.path

    def _walk(self, folder: bytes, selection: Selection, name: bytes = OWN) -> Iterator[Item]:
        walk = Walk({self._path(name): folder}, selection, WalkManner())
        yield from walk
        self.flaws += walk.flaws

    def _indexes(self, view: View) -> Iterator[Item]:
        for name, status in view.reflection.indexes.items():
            entry = file_entry(self._path(OWN + b"/" + name), status, self._owners)
            yield Item(entry, partial(CopiedFile, view.reflection.path(name), entry), want_digest=True)

    def _changed_files(self, view: View) -> Iterator[Item]:
        changes = view.changes
        if self._repository.tree is None or not (changes.taken or changes.nested):
            return
        picked = Picked(changes.taken, changes.nested, self._manner.exclude)
        yield from self._walk(self._repository.tree, picked, TREE)
        for path in sorted(picked.left):
            self.flaws.append(
                Flaw(self._path(TREE + b"/" + path), "vanished", "it was listed, and gone a moment later")
            )

    def _history(self, view: View, parts: list[Section], newest: int) -> Iterator[Item]:
        """The bundles: the sections, and what is in none."""
        before = list[bytes]()
        for each in parts:
            last = self._last.get(each.name)
            size, time = (last.size, last.mtime_ns) if last else (-1, newest)
            version = _as_version(blake3(b"".join([*before, each.commit])))
            entry = self._entry(each.name, size=size, mtime_ns=time, version=version)
            head = BundleHead(view.named.object_format, {each.reference: each.commit}, tuple(before))
            yield Item(entry, partial(self._bundle, view, entry, head, [each.commit]), CUT)
            before.append(each.commit)
        named, head_commit = dict(view.named.named), view.named.head_commit
        if head_commit:
            named[b"HEAD"] = head_commit
        tips = sorted({*view.tips, *view.named.elsewhere})
        entry = self._entry(BUNDLE, size=-1, mtime_ns=newest, version=_version(view, parts))
        head = BundleHead(view.named.object_format, named, tuple(before))
        yield Item(entry, partial(self._bundle, view, entry, head, tips), CUT)

    def _bundle(self, view: View, entry: Entry, head: BundleHead, tips: list[bytes]) -> BundleStream:
        self._objects = None
        return BundleStream(view.reflection, entry, head, tips)

    def _name(self, path: bytes) -> bytes:
        return path[len(self._label) + 1 :]

    def _path(self, name: bytes) -> bytes:
        return self._label + b"/" + name

    def _flaw(self, what: str, why: str) -> None:
        self.whole = False
        self.flaws.append(Flaw(self._path(BUNDLE), what, why))

    def _entry(self, name: bytes, *, size: int, mtime_ns: int, version: Version = (0, 0)) -> Entry:
        status = os.stat(self._repository.folder)
        user, group = status.st_uid, status.st_gid
        owner = (user, group, self._owners.user(user), self._owners.group(group))
        return Entry(self._path(name), FILE, 0o600, *owner, mtime_ns=mtime_ns, size=size, version=version)


def _newest(view: View) -> int:
    """The time of the newest commit, in nanoseconds: it stays until something happens."""
    given = b"".join(tip + b"\n" for tip in view.named.tips)
    line = view.reflection.git.run("rev-list", "--no-walk=sorted", "-1", "--timestamp", "--stdin", given=given)
    return min(int(line.split()[0]) * 1_000_000_000, _LATEST) if given and line else 0


def _version(view: View, parts: list[Section]) -> Version:
    """Of the history that is in none of the `parts`."""
    digest = blake3(view.named.digest())
    for tip in (*sorted({*view.tips, *view.named.elsewhere}), *(each.commit for each in parts)):
        digest.update(tip)
    return _as_version(digest)


def _as_version(digest: blake3) -> Version:
    value = digest.digest(16)
    first, second = (int.from_bytes(half) >> 1 for half in (value[:8], value[8:]))
    return first or 1, second or 1


def _document(view: View, manner: Manner, parts: list[Section]) -> bytes:
    named, tree = view.named, view.repository.tree
    return Document(
        bare=tree is None,
        object_format=named.object_format,
        head=named.head,
        symbolic=named.symbolic,
        stash=named.stash,
        partial=named.partial,
        settings=named.settings,
        uncommitted=manner.uncommitted,
        deleted=tuple(sorted(view.changes.deleted)),
        bundle=bool(view.tips),
        sections=tuple(each.name for each in parts),
    ).to_bytes()

"""A repository, put back from its items as it was: all references, HEAD, stash, index, and what was not committed.

Nothing of it is ever run: its configuration and hooks come last, when git has done its part.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tasks.errors import BackupError, Damaged, NoSpace, Occupied, Refused, Unavailable, UnsafePath
from tasks.item import FILE, FOLDER, HARDLINK, Entry, Stored, StoredItems, Stream
from tasks.sources.file_restore import restore_files
from tasks.sources.git import cut_off
from tasks.sources.git.bundle import WHOLE_LIMIT, BundleHead, unpack
from tasks.sources.git.capture import DOCUMENT, OWN, TREE
from tasks.sources.git.command import Git, GitFailed, GitKilled
from tasks.sources.git.document import Document, is_reference
from tasks.sources.git.empty_folder import make_git_folder
from tasks.sources.git.sections import BUNDLE
from tasks.sources.path_text import path_text
from tasks.sources.source import Restoring
from tasks.sources.target_path import check_path, make_top

_FIRST = (b"index", b"shallow", b"sharedindex.")
"""What git must have before it can do its part, beside objects and references."""
_ATTRIBUTES = OWN + b"/info/attributes"


class RepositoryRestore:
    """The items of one repository of a snapshot."""

    def __init__(self, items: StoredItems, label: bytes, chosen: Iterable[Stored]) -> None:
        self._items = items
        self._label = label
        self._chosen = {item.entry.path[len(label) + 1 :]: item for item in chosen}
        self._document: Document | None = None
        top = self._chosen.get(b"")
        if top is not None and top.entry.type == FOLDER and DOCUMENT in self._chosen:
            document = Document.from_bytes(_all(items.open(self._chosen[DOCUMENT])))
            self._document = document if all(name in self._chosen for name in document.bundles) else None

    def into(self, folder: Path, how: Restoring) -> list[str]:
        """Puts the repository into a new folder of its name below `folder`; if only some of its files were chosen, just
        these. Returns what could not be given back, a line each. Raises `Occupied`, `UnsafePath`, `Damaged`."""
        if self._document is None:
            return restore_files(self._items, tuple(self._chosen.values()), folder, how)
        for item in self._chosen.values():
            check_path(item.entry.path)
        target = os.path.join(os.fsencode(folder), self._label)
        if not os.path.islink(target) and (before := cut_off.found(target, how.run)) is not None:
            return before  # the attempt that was cut off had got so far
        if os.path.lexists(target) and (os.path.islink(target) or not os.path.isdir(target) or os.listdir(target)):
            raise Occupied(
                f"`{path_text(target)}` is there already: move it away, or restore to another folder; a repository is"
                " put back as a whole, never into another one"
            )
        left, work = cut_off.left_over(folder, how.run), cut_off.work_name(how.run)
        path = os.path.join(os.fsencode(folder), work)
        try:
            make_top(folder)
            os.mkdir(path, 0o700)
            building = _Building(self._items, self._chosen, self._document, work)
            missed = [line.replace(path_text(work), path_text(self._label)) for line in building.build(folder, how)]
            if how.run:
                cut_off.put(building.git_folder, how.run, missed)
            os.rename(path, target)
        except (OSError, GitFailed) as error:
            raise _translated(error, self._label) from error
        except BackupError as error:
            raise type(error)(str(error).replace(path_text(work), path_text(self._label))) from error
        finally:
            cut_off.clear(path)
        return [*left, *missed]


class _Building:
    """One restore, in the folder `name`."""

    def __init__(self, items: StoredItems, chosen: dict[bytes, Stored], document: Document, name: bytes) -> None:
        self._items = items
        self._chosen = chosen
        self._document = document
        self._name = name
        self._folder = b""

    @property
    def git_folder(self) -> bytes:
        return self._folder

    def build(self, into: Path, how: Restoring) -> list[str]:
        document = self._document
        self._top = os.path.join(os.fsencode(into), self._name)
        self._folder = self._top if document.bare else os.path.join(self._top, b".git")
        make_git_folder(self._folder, document.object_format, bare=document.bare, partial=document.partial)
        self._git = Git(self._folder, tree=None if document.bare else self._top, settings=document.settings)
        ours = Restoring(overwrite=True, owners=how.owners)
        first = tuple(self._moved(lambda name: name.startswith(_FIRST)))
        if not all(item.entry.type == FILE for item in first):
            # git would follow a link that has the name of its index, and write where it leads.
            raise UnsafePath(f"the snapshot of `{path_text(self._name)}` has no plain file as its index")
        # How each file is written is decided by these, which need not be as they were committed.
        restore_files(self._items, (*first, *self._attributes()), into, ours)
        if document.bundle:
            self._name_objects(self._unpack())
            self._compact()
        self._set_head()
        if not document.bare:
            self._check_out()
        if how.owners and os.geteuid() == 0:
            _give(self._top, self._chosen[b""].entry)
        missed = restore_files(self._items, tuple(self._moved(lambda name: not name.startswith(_FIRST))), into, ours)
        self._adapt_configuration()
        return missed

    def _unpack(self) -> BundleHead:
        """All objects; what the last bundle, which has the references, says."""
        head, known = BundleHead("", {}), list[bytes]()
        for name in self._document.bundles:
            stream = self._items.open(self._chosen[name])
            head = unpack(stream, self._git, partial=self._document.partial, known=known)
            if head.object_format != self._document.object_format:
                raise Damaged(f"`{path_text(name)}` and `{path_text(DOCUMENT)}` are not of one repository")
            known += head.named.values()
        return head

    def _moved(self, wanted: Callable[[bytes], bool]) -> Iterator[Stored]:
        """The items at their new places. `wanted` decides by the name in the git directory, where it is in there."""
        for path in self._chosen:
            if path == b"":
                place = self._name
            elif path.startswith(TREE + b"/"):
                place = self._name + path[len(TREE) :]
            elif path == OWN and not self._document.bare:
                place = self._place(OWN)
            elif path.startswith(OWN + b"/"):
                place = self._place(path)
            elif path in (*self._document.bundles, BUNDLE, DOCUMENT, TREE, OWN):
                continue
            else:
                raise Damaged(f"the snapshot has `{path_text(path)}` in a repository, where no capture puts anything")
            own = path.startswith(OWN + b"/")
            if wanted(path[len(OWN) + 1 :] if own else b""):
                yield self._at(path, place)

    def _attributes(self) -> Iterator[Stored]:
        """Files that say how others are written, at their new places; a link would be followed, or is no such file."""
        for path, item in self._chosen.items():
            is_one = path == _ATTRIBUTES or (path.startswith(TREE + b"/") and path.endswith(b"/.gitattributes"))
            if is_one and item.entry.type == FILE:
                yield self._at(path, self._place(path) if path == _ATTRIBUTES else self._name + path[len(TREE) :])

    def _place(self, path: bytes) -> bytes:
        return self._name + (b"" if self._document.bare else b"/.git") + path[len(OWN) :]

    def _at(self, path: bytes, place: bytes) -> Stored:
        item = self._chosen[path]
        entry = item.entry._replace(path=place)
        if entry.type == HARDLINK:
            label = item.entry.path[: len(item.entry.path) - len(path)]
            first = entry.link[len(label) :]
            partner = self._place(first) if first.startswith(OWN + b"/") else self._name + first[len(TREE) :]
            entry = entry._replace(link=partner)
        return item._replace(entry=entry)

    def _name_objects(self, head: BundleHead) -> None:
        direct = sorted((name, value) for name, value in head.named.items() if name != b"HEAD")
        if not all(is_reference(name) for name, _ in direct):
            raise Damaged(f"`{path_text(BUNDLE)}` has a reference by a name that git gives to none")
        given = b"".join(
            b"create %s\0%s\0" % (name, value) for name, value in direct if name not in self._document.symbolic
        )
        self._git.run("update-ref", "-z", "--stdin", given=given)
        for name, target in sorted(self._document.symbolic.items()):
            self._git.run("symbolic-ref", name, target)
        self._git.run("pack-refs", "--all")
        if self._document.stash:
            self._write_stash()

    def _compact(self) -> None:
        """Whole objects take ten times the room that git needs, and `git gc` alone would leave them so."""
        if sum(self._chosen[name].entry.size for name in self._document.bundles) <= 2 * WHOLE_LIMIT:
            with suppress(GitFailed):  # it is all there as it is
                self._git.run("repack", "-a", "-d", "-f", "-n", "--keep-unreachable", "--window-memory=64m", "--quiet")

    def _write_stash(self) -> None:
        """The older entries are nothing but lines of the stash's history."""
        os.makedirs(os.path.join(self._folder, b"logs", b"refs"))
        before = b"0" * len(self._document.stash[0].commit)
        with open(os.path.join(self._folder, b"logs", b"refs", b"stash"), "wb") as file:
            for entry in reversed(self._document.stash):
                file.write(b"%s %s %s\t%s\n" % (before, entry.commit, entry.who, entry.message))
                before = entry.commit

    def _set_head(self) -> None:
        head = self._document.head
        if head.startswith(b"refs/"):
            self._git.run("symbolic-ref", "HEAD", head)
        else:
            self._git.run("update-ref", "--no-deref", "HEAD", head)

    def _check_out(self) -> None:
        """Writes the files that are as the index has them; the others are among the items, or were deleted."""
        git = self._git
        if not self._document.uncommitted and git.run("rev-parse", "-q", "--verify", "HEAD", allowed=(0, 1)):
            git.run("read-tree", "HEAD")
        others = {path[len(TREE) + 1 :] for path in self._chosen if path.startswith(TREE + b"/")}
        others.update(self._document.deleted)
        wanted = os.path.join(self._folder, b"geometra-checkout")
        with open(wanted, "wb") as file:
            for record in git.records("ls-files", "-t", "-z"):
                tag, path = record[:1], record[2:]
                _check_tracked(path)
                if tag == b"H" and path not in others:
                    file.write(path + b"\0")
        with open(wanted, "rb") as file:
            # With the new sizes and times in the index, git sees at once that nothing differs.
            for _ in git.records("checkout-index", "-z", "--stdin", "--force", "--quiet", "--index", given=file):
                pass
        os.unlink(wanted)

    def _adapt_configuration(self) -> None:
        """What ties a configuration to the place it had, as those of submodules and linked working trees are."""
        around = os.stat(self._folder)
        for path in (os.path.join(self._folder, name) for name in (b"config", b"config.worktree")):
            if os.path.isfile(path) and not os.path.islink(path):
                status = os.stat(path)
                self._free(path)
                os.chown(path, status.st_uid, status.st_gid)
                os.chmod(path, status.st_mode & 0o7777)
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.utime(self._folder, ns=(around.st_atime_ns, around.st_mtime_ns))

    def _free(self, path: bytes) -> None:
        git, change = Git(os.path.join(self._folder, b"refs")), ("config", "--file", path)
        try:
            for key in ("core.worktree", "extensions.refStorage"):
                git.run(*change, "--unset-all", key, allowed=(0, 5))
            bare = git.run(*change, "--type=bool", "core.bare", allowed=(0, 1)).strip()
            if bare == b"true" and not self._document.bare:
                git.run(*change, "core.bare", "false")
        except GitFailed:
            return  # a configuration that git can't read comes back as it was


def _check_tracked(path: bytes) -> None:
    """Raises `UnsafePath` for what git itself would refuse to track, in an index that it never made."""
    check_path(path)
    if any(part.lower() == b".git" for part in path.split(b"/")):
        raise UnsafePath(f"the snapshot's index names `{path_text(path)}`, which would be part of git's own files")


def _give(top: bytes, entry: Entry) -> None:
    """All that is there to the owner of `entry`, by name if there is one of that name."""
    user, group = entry.uid, entry.gid
    with suppress(KeyError):
        user = pwd.getpwnam(entry.user).pw_uid
    with suppress(KeyError):
        group = grp.getgrnam(entry.group).gr_gid
    if (user, group) == (os.geteuid(), os.getegid()):
        return
    for _, _, files, number in os.fwalk(top):
        os.fchown(number, user, group)
        for name in files:
            os.chown(name, user, group, dir_fd=number, follow_symlinks=False)


def _all(stream: Stream) -> bytes:
    buffer, content = memoryview(bytearray(1 << 16)), bytearray()
    while count := stream.readinto(buffer):
        content += buffer[:count]
    stream.close()
    return bytes(content)


def _translated(error: OSError | GitFailed, label: bytes) -> BackupError:
    text = f"the repository `{path_text(label)}` can't be put back: "
    if isinstance(error, GitKilled):
        return Unavailable(f"{text}{error}")
    if isinstance(error, GitFailed):
        full = "No space left" in str(error)
        return (NoSpace if full else Damaged)(f"{text}{error}; its files can be restored one by one")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (NoSpace if full else Refused)(f"{text}{error.strerror}")

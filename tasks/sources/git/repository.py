"""Where a repository has its parts, and what it names: references, HEAD, stash, what an unfinished merge holds."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from tasks.errors import SourceError
from tasks.sources.git.command import Git, GitFailed

_LIMIT = 1 << 24
_HOLDING = (
    *("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "MERGE_AUTOSTASH", "rebase-apply/autostash"),
    *("rebase-apply/orig-head", "rebase-merge/autostash", "rebase-merge/onto", "rebase-merge/orig-head"),
)
"""Files of a git directory that hold on to commits (gitrepository-layout(5), and git's own sequencer.c)."""
_ID = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})")
SETTINGS = "filemode|autocrlf|eol|symlinks|ignorecase|precomposeunicode|trustctime|checkstat|sparsecheckout(cone)?"
_SETTING = re.compile(rb"[a-z.]+=[a-z0-9]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Repository:
    """The folders of a repository. `common` is the same as `folder` but in linked working trees, which share it;
    `tree` is None for a bare one."""

    path: bytes
    folder: bytes
    common: bytes
    tree: bytes | None

    @property
    def objects(self) -> bytes:
        return os.path.join(self.common, b"objects")

    def git(self) -> Git:
        return Git(self.folder, tree=self.tree)


@dataclass(frozen=True, slots=True)
class StashEntry:
    """One line of the stash's history: `who` is name, address in `<>`, seconds and time zone."""

    commit: bytes
    who: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class References:
    """All that a repository names. `head` is the branch that is checked out, or a commit. `held` are commits that the
    stash and an unfinished merge name, `elsewhere` those that are checked out in other working trees. `missing` are
    references to what is not there."""

    object_format: str
    named: dict[bytes, bytes]
    symbolic: dict[bytes, bytes]
    head: bytes
    stash: tuple[StashEntry, ...]
    held: tuple[bytes, ...]
    elsewhere: tuple[bytes, ...]
    missing: tuple[bytes, ...]
    shallow: bytes
    partial: bool
    settings: tuple[str, ...]

    @property
    def head_commit(self) -> bytes | None:
        """None where the branch has no commit yet."""
        return self.named.get(self.head) if self.head.startswith(b"refs/") else self.head

    @property
    def tips(self) -> list[bytes]:
        head = self.head_commit
        return sorted({*self.named.values(), *self.held, *([head] if head else [])})

    def digest(self) -> bytes:
        """Of everything named, so that it changes whenever the history may have."""
        digest = blake3()
        for name, value in sorted({**self.named, **self.symbolic}.items()):
            digest.update(b"%s %s\n" % (name, value))
        digest.update(b"%s\n%s\n" % (self.head, self.shallow))
        for entry in self.stash:
            digest.update(b"%s %s %s\n" % (entry.commit, entry.who, entry.message))
        return digest.digest()


def find(path: Path) -> Repository:
    """The repository whose working tree or git directory `path` is, not one around it. Raises `SourceError`."""
    if not os.path.exists(path):
        raise SourceError(
            f"`{path}` is not there, or this user may not look into it; mend that, or take it out of `repositories`"
        )
    top = os.path.realpath(os.fsencode(path))
    inside = os.path.join(top, b".git")
    if os.path.isdir(inside):
        return _whole(path, os.path.realpath(inside), top)
    pointer = _content(inside)
    if pointer.startswith(b"gitdir: "):
        return _whole(path, os.path.realpath(os.path.join(top, pointer[8:].rstrip(b"\r\n"))), top)
    if os.path.isfile(os.path.join(top, b"HEAD")):
        return _whole(path, top, None)
    around = next((each for each in path.absolute().parents if os.path.exists(each / ".git")), None)
    advice = f"it is inside the repository `{around}`, so name that" if around else "make it one with `git init`"
    raise SourceError(f"`{path}` is not a git repository: {advice}, or take it out of `repositories`")


def _whole(path: Path, folder: bytes, tree: bytes | None) -> Repository:
    pointer = _content(os.path.join(folder, b"commondir")).rstrip(b"\r\n")
    common = os.path.realpath(os.path.join(folder, pointer)) if pointer else folder
    for part in (os.path.join(folder, b"HEAD"), os.path.join(common, b"objects"), os.path.join(common, b"refs")):
        if not os.path.exists(part):
            raise SourceError(
                f"`{path}` is not a git repository: `{os.fsdecode(part)}` is missing; mend it, or take it out of"
                " `repositories`"
            )
    if folder == common and _says_bare(folder):
        tree = None
    return Repository(os.path.realpath(os.fsencode(path)), folder, common, tree)


def _says_bare(folder: bytes) -> bool:
    """Whether the configuration says that there is no working tree, although the folder's name is `.git`."""
    try:
        return Git(folder).run("config", "--type=bool", "core.bare", allowed=(0, 1)).strip() == b"true"
    except GitFailed:
        return False  # what is wrong shows as soon as something is read


def references(repository: Repository) -> References:
    """What it names now. Raises `GitFailed`."""
    git = repository.git()
    # HEAD first: a branch that it names already is listed after that.
    head = git.run("symbolic-ref", "-q", "HEAD", allowed=(0, 1)).strip() or git.run("rev-parse", "HEAD").strip()
    named, symbolic = {}, {}
    listed, warnings = git.talk("for-each-ref", "--format=%(objectname) %(refname) %(symref)")
    for line in listed.splitlines():
        value, name, target = line.split(b" ")
        named[name] = value
        if target:
            symbolic[name] = target
    stash = _stash(git) if b"refs/stash" in named else ()
    held = {entry.commit for entry in stash} | _held(repository)
    elsewhere = set(working_trees(git).values())
    there = present(git, {*named.values(), *held, *elsewhere})
    return References(
        object_format=git.run("rev-parse", "--show-object-format").decode().strip(),
        named={name: value for name, value in named.items() if value in there},
        symbolic=symbolic,
        head=head,
        stash=tuple(entry for entry in stash if entry.commit in there),
        held=tuple(sorted(held & there)),
        elsewhere=tuple(sorted(elsewhere & there)),
        missing=(
            *(name for name, value in named.items() if value not in there),
            *(line.rpartition(b" ")[2] for line in warnings if b"ignoring broken ref" in line),
        ),
        shallow=_content(os.path.join(repository.common, b"shallow")),
        partial=is_partial(git),
        settings=_settings(git),
    )


def _settings(git: Git) -> tuple[str, ...]:
    """What decides how files are compared with the index, as `key=value`."""
    listed = git.run("config", "--null", "--get-regexp", rf"^core\.({SETTINGS})$", allowed=(0, 1))
    pairs = (line.partition(b"\n") for line in listed.split(b"\0") if line)
    # A key alone means true.
    texts = (b"%s=%s" % (key, value if separator else b"true") for key, separator, value in pairs)
    return tuple(text.decode() for text in texts if _SETTING.fullmatch(text))


def is_partial(git: Git) -> bool:
    """Whether it left objects with a remote, and only promises them."""
    promised = git.run("config", "--get-regexp", r"^(extensions\.partialclone|remote\..*\.promisor)$", allowed=(0, 1))
    return bool(promised)


def working_trees(git: Git) -> dict[bytes, bytes]:
    """The folder of each working tree that shares the repository, and the commit that is checked out there."""
    found, folder = {}, b""
    for line in git.run("worktree", "list", "--porcelain").splitlines():
        word, _, value = line.partition(b" ")
        if word == b"worktree":
            folder = value
        elif word == b"HEAD":
            found[folder] = value
    return found


def _stash(git: Git) -> tuple[StashEntry, ...]:
    """All entries, the newest first; only the newest is a reference, the others are its history."""
    form = ("--date=raw", "--format=%H%x00%gn <%ge>%x00%gd%x00%gs", "--no-patch", "--no-show-signature", "--no-color")
    found = []
    for line in git.run("log", "--walk-reflogs", *form, "refs/stash", "--").split(b"\n")[:-1]:
        commit, who, when, message = line.split(b"\0")
        found.append(StashEntry(commit, who + b" " + when.partition(b"@{")[2].rstrip(b"}"), message))
    return tuple(found)


def _held(repository: Repository) -> set[bytes]:
    files = b"\n".join(_content(os.path.join(repository.folder, os.fsencode(name))) for name in _HOLDING)
    return {word for word in files.split() if _ID.fullmatch(word)}


def present(git: Git, ids: set[bytes]) -> set[bytes]:
    given = b"".join(name + b"\n" for name in sorted(ids))
    return {
        line for line in git.run("cat-file", "--batch-check=%(objectname)", given=given).splitlines() if line in ids
    }


def _content(path: bytes) -> bytes:
    """A small file's bytes; empty where there is none, or where something else has its name."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with open(number, "rb") as file:
        return file.read(_LIMIT) if stat.S_ISREG(os.fstat(number).st_mode) else b""

"""Real git repositories for tests, made by the git executable as a person would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tasks.sources.source_code import SourceCode

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0100",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "1700000000 +0100",
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(folder: Path, *arguments: str | bytes, given: bytes = b"", check: bool = True) -> bytes:
    """What git prints, run in `folder`. Raises `CalledProcessError` with what it complains of."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, input=given, capture_output=True, env=ENVIRONMENT, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def init(folder: Path, *options: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main", *options)
    return folder


def commit(folder: Path, files: Mapping[str, bytes | str], message: str = "a commit") -> str:
    """Writes the files, commits everything, and returns the commit's id."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD").decode().strip()


def state(folder: Path) -> dict[str, bytes]:
    """What a person sees of a repository, by git's own commands."""
    bare = git(folder, "rev-parse", "--is-bare-repository").strip() == b"true"
    seen = {
        "references": git(folder, "for-each-ref", "--format=%(refname) %(objectname) %(objecttype) %(symref)"),
        "head": git(folder, "symbolic-ref", "--quiet", "HEAD", check=False) or git(folder, "rev-parse", "HEAD"),
        "stash": git(folder, "stash", "list", "--format=%H %gd %gs %gn %ge", "--date=raw")
        if not bare
        else git(folder, "rev-parse", "--quiet", "--verify", "refs/stash", check=False),
        "objects": b"\n".join(sorted(git(folder, "rev-list", "--objects", "--all").splitlines())),
        "check": git(folder, "fsck", "--full", "--strict", "--no-dangling"),
    }
    if not bare:
        seen["status"] = git(folder, "status", "--porcelain=v2", "-z", "--untracked-files=all", "--branch")
        seen["index"] = git(folder, "ls-files", "--stage", "-v", "-z")
        seen["difference"] = git(folder, "diff", "--binary")
        seen["staged difference"] = git(folder, "diff", "--cached", "--binary")
    return seen


def rich(folder: Path) -> Path:
    """A working tree with everything that a person leaves lying about on an ordinary day."""
    init(folder)
    names = ("kept.py", "modified.py", "staged.py", "deleted.py", "removed.py", "renamed.py", "run.sh", "inner/deep.py")
    commit(folder, {name: f"# {name}\n" * 50 for name in names} | {".gitignore": "*.pyc\nbuild/\n"}, "first")
    commit(folder, {"kept.py": "# kept, later\n" * 60}, "second")
    git(folder, "branch", "feature/one", "HEAD~1")
    git(folder, "tag", "light")
    git(folder, "tag", "--annotate", "--message", "with a message", "v1.0")
    git(folder, "notes", "add", "--message", "a note")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD~1")
    git(folder, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    git(folder, "config", "remote.origin.url", "https://ada:secret@example.org/code.git")
    for number in (1, 2):
        (folder / "kept.py").write_text(f"# stashed {number}\n")
        git(folder, "stash", "push", "--quiet", "--message", f"stash {number}")
    (folder / ".git/hooks/pre-commit").write_text("#!/bin/sh\nexit 0\n")
    (folder / ".git/hooks/pre-commit").chmod(0o755)
    (folder / ".git/info/exclude").write_text("*.swp\n")
    uncommitted(folder)
    return folder


def uncommitted(folder: Path) -> None:
    (folder / "modified.py").write_text("# modified, not staged\n")
    (folder / "staged.py").write_text("# staged, and then\n")
    git(folder, "add", "staged.py")
    (folder / "staged.py").write_text("# modified again\n")
    (folder / "deleted.py").unlink()
    git(folder, "rm", "--quiet", "removed.py")
    git(folder, "mv", "renamed.py", "inner/new name.py")
    (folder / "run.sh").chmod(0o755)
    (folder / "untracked").mkdir()
    (folder / "untracked" / "notes.txt").write_text("untracked\n")
    (folder / "untracked" / "link").symlink_to("../kept.py")
    (folder / "ignored.pyc").write_bytes(b"\0")
    (folder / "other.swp").write_bytes(b"\0")


def made(*repositories: object, **options: object) -> SourceCode:
    """A source of these repositories, as backup.toml would name them."""
    settings = {"kind": SourceCode.kind, "repositories": repositories, **options}
    return SourceCode("code", SourceCode.Settings.model_validate(settings))  # type: ignore[arg-type]  # its own class

"""A private git directory that borrows a repository's objects, index and working tree, and none of its configuration.

Filters, hooks and monitors that the repository configures are unknown in it, so looking at files runs no program.
"""

from __future__ import annotations

import os
import shutil
import stat

from tasks.sources.git import Git
from tasks.sources.git_repository import References, Repository

_COPIED = (b"info/exclude", b"info/attributes", b"info/sparse-checkout")


class Reflection:
    """Made in `folder`, an empty one of our own. `index` is the path of its copy of the index; None where there is
    none, or where `with_index` is not set."""

    def __init__(self, repository: Repository, named: References, folder: bytes, *, with_index: bool = True) -> None:
        self.folder = folder
        self.shared_indexes: list[bytes] = []
        os.makedirs(os.path.join(folder, b"info"), mode=0o700)
        os.mkdir(os.path.join(folder, b"refs"))
        sha256 = named.object_format != "sha1"
        settings = ["[core]", f"repositoryFormatVersion = {int(sha256 or named.partial)}", "[extensions]"]
        settings += [f"objectFormat = {named.object_format}"] * sha256 + ["partialClone = promised"] * named.partial
        self._write(b"config", "\n".join(settings).encode() + b"\n")
        self._write(b"HEAD", b"ref: refs/heads/none\n")
        if named.shallow:
            self._write(b"shallow", named.shallow)
        for name in _COPIED:
            for home in {repository.common, repository.folder}:
                self._copy(os.path.join(home, name), name)
        self.index: bytes | None = None
        if with_index:
            self._copy_index(repository.folder)
        self.git = Git(folder, tree=repository.tree, objects=repository.objects, settings=named.settings)

    def path(self, name: bytes) -> bytes:
        return os.path.join(self.folder, name)

    def _copy_index(self, home: bytes) -> None:
        if not self._copy(os.path.join(home, b"index"), b"index"):
            return
        self.index = self.path(b"index")
        for name in os.listdir(home):
            if name.startswith(b"sharedindex.") and self._copy(os.path.join(home, name), name):
                self.shared_indexes.append(self.path(name))

    def _copy(self, path: bytes, name: bytes) -> bool:
        """Copies content and times: whether a file is newer than the index tells git whether to look into it."""
        try:
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        with open(number, "rb") as source:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                return False
            with open(self.path(name), "wb") as copy:
                shutil.copyfileobj(source, copy)
        os.utime(self.path(name), ns=(status.st_atime_ns, status.st_mtime_ns))
        return True

    def _write(self, name: bytes, content: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(content)

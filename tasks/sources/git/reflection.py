"""A private git directory that borrows a repository's objects, index and working tree, and none of its configuration.

Filters, hooks and monitors that the repository configures are unknown in it, so looking at files runs no program.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import weakref

from tasks.sources.git.command import Git
from tasks.sources.git.empty_folder import make_git_folder
from tasks.sources.git.repository import References, Repository

_COPIED = (b"info/exclude", b"info/attributes", b"info/sparse-checkout")


class Reflection:
    """Lies in a temporary folder as long as it is used. `indexes` are its copies of the index and of what that is split
    into, by name, each with the status of what it is a copy of; none without `with_index`. Raises `OSError`."""

    def __init__(self, repository: Repository, named: References, *, with_index: bool) -> None:
        temporary = tempfile.mkdtemp(prefix="geometra-backup-")
        weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        folder = self.folder = os.fsencode(temporary)
        self.indexes: dict[bytes, os.stat_result] = {}
        make_git_folder(folder, named.object_format, partial=named.partial)
        if named.shallow:
            self._write(b"shallow", named.shallow)
        for name in _COPIED:
            for home in {repository.common, repository.folder}:
                self._copy(os.path.join(home, name), name)
        self.with_index = with_index
        if with_index:
            self._copy_index(repository.folder)
        self.git = Git(folder, tree=repository.tree, objects=repository.objects, settings=named.settings)

    def path(self, name: bytes) -> bytes:
        return os.path.join(self.folder, name)

    def _copy_index(self, home: bytes) -> None:
        for name in sorted(os.listdir(home)):
            if name == b"index" or name.startswith(b"sharedindex."):
                status = self._copy(os.path.join(home, name), name)
                if status:
                    self.indexes[name] = status

    def _copy(self, path: bytes, name: bytes) -> os.stat_result | None:
        """Copies content and times: whether a file is newer than the index tells git whether to look into it."""
        try:
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with open(number, "rb") as source:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                return None
            with open(self.path(name), "wb") as copy:
                shutil.copyfileobj(source, copy)
        os.utime(self.path(name), ns=(status.st_atime_ns, status.st_mtime_ns))
        return status

    def _write(self, name: bytes, content: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(content)

"""The contract of sources, on git repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.source_code import SourceCode
from tests import git_sample
from tests.contracts.source_contract import SourceContract

pytestmark = pytest.mark.needs("git")


class SourceCodeContract(SourceContract):
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        raise NotImplementedError

    @pytest.fixture
    def source(self, repository: Path) -> SourceCode:
        return git_sample.made(repository)

    @pytest.fixture
    def absent(self, tmp_path: Path) -> SourceCode:
        return git_sample.made(tmp_path / "nowhere")


class TestWorkingTree(SourceCodeContract):
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        return git_sample.rich(tmp_path / "site")

    @pytest.fixture
    def change(self, repository: Path) -> Callable[[], None]:
        def change() -> None:
            (repository / "untracked" / "notes.txt").write_text("otherwise\n")

        return change

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def damage(copy: Path) -> None:
            (copy / "site" / "modified.py").write_text("# damaged\n")

        return damage


class TestBareRepository(SourceCodeContract):
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        git_sample.commit(git_sample.init(tmp_path / "work"), {"a.py": "a = 1\n", "b/c.py": "c = 2\n"})
        subprocess.run(["git", "clone", "--quiet", "--bare", "work", "site.git"], cwd=tmp_path, check=True)
        return tmp_path / "site.git"

    @pytest.fixture
    def change(self, repository: Path) -> Callable[[], None]:
        def change() -> None:
            git_sample.git(repository, "update-ref", "refs/heads/other", "main")

        return change

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def damage(copy: Path) -> None:
            (pack,) = (copy / "site.git" / "objects" / "pack").glob("*.idx")
            pack.unlink()

        return damage


class TestRepositoryWithoutCommits(SourceCodeContract):
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        return git_sample.init(tmp_path / "new")

    @pytest.fixture
    def change(self, repository: Path) -> Callable[[], None]:
        def change() -> None:
            (repository / "first.py").write_text("first = True\n")

        return change

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def damage(copy: Path) -> None:
            (copy / "new" / ".git" / "HEAD").write_text("ref: refs/heads/elsewhere\n")

        return damage

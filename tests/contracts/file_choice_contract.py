"""What a source of files takes, and what it gives back, is what was chosen."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tasks.errors import Occupied, SourceError
from tasks.item import FOLDER
from tasks.sources.filetree import FileTree
from tasks.sources.source import Restoring
from tests.contracts.file_listing import listing
from tests.contracts.file_source import FileSource, Make
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree


class FileChoiceContract(FileSource):
    def test_nothing_is_overwritten_unless_told_to(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        file = tmp_path / "copy" / "tree" / "one.txt"
        file.write_bytes(b"mine")
        with pytest.raises(Occupied, match="tree/"):
            source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert file.read_bytes() == b"mine"
        source.restore(saved, saved, tmp_path / "copy", Restoring(overwrite=True))
        assert listing(tmp_path / "copy" / "tree") == listing(tree)

    def test_a_single_file_comes_back_alone(self, source: FileTree, tree: Path, tmp_path: Path) -> None:
        saved = Saved(source.capture())
        source.restore(saved, [saved[b"tree/inner/two.bin"]], tmp_path / "copy", Restoring())
        assert {path for path, told in listing(tmp_path / "copy").items() if told["type"] != stat.S_IFDIR} == {
            b"tree/inner/two.bin"
        }
        assert (tmp_path / "copy/tree/inner/two.bin").read_bytes() == (tree / "inner/two.bin").read_bytes()

    def test_a_file_and_a_renamed_folder_are_roots_too(self, make: Make, tree: Path, tmp_path: Path) -> None:
        source = make(tree / "one.txt", {"path": tree / "inner", "name": "another"})
        saved = Saved(source.capture())
        assert [item.entry.path for item in saved] == [b"another", b"another/nothing", b"another/two.bin", b"one.txt"]
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert (tmp_path / "copy" / "one.txt").read_bytes() == b"one\n" * 1000
        assert agree(source.examine(tmp_path / "copy"), saved.facts)
        assert source.roots() == {"one.txt": str(tree / "one.txt"), "another": str(tree / "inner")}

    def test_patterns_choose_what_is_taken(self, make: Make, tree: Path) -> None:
        def taken(**options: object) -> list[bytes]:
            return [item.entry.path.removeprefix(b"tree/") for item in make(tree, **options).capture()]

        assert taken(include=["*.bin"]) == [b"tree", b"inner", b"inner/two.bin"]
        assert taken(include=["inner/"]) == [b"tree", b"inner", b"inner/nothing", b"inner/two.bin"]
        assert taken(include=["/one.*"]) == [b"tree", b"one.txt"]
        assert taken(include=["*.none"]) == []
        assert taken(exclude=["inner/"]) == [b"tree", b"empty", b"one.txt"]
        assert taken(exclude=["*", "!*.txt"]) == [b"tree", b"one.txt"]
        assert taken(include=["inner/"], exclude=["*.bin"]) == [b"tree", b"inner", b"inner/nothing"]

    def test_folders_of_caches_and_tagged_folders_keep_only_the_tag(self, make: Make, tree: Path) -> None:
        (tree / "inner" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n# cache")
        (tree / "empty" / "CACHEDIR.TAG").write_bytes(b"no signature")
        (tree / "empty" / ".nobackup").touch()
        paths = {item.entry.path for item in make(tree, exclude_caches=True).capture()}
        assert b"tree/inner/two.bin" not in paths
        assert {b"tree/inner", b"tree/inner/CACHEDIR.TAG", b"tree/empty/.nobackup"} <= paths
        paths = {item.entry.path for item in make(tree, exclude_if_present=[".nobackup"]).capture()}
        assert b"tree/inner/two.bin" in paths
        assert b"tree/empty/CACHEDIR.TAG" not in paths
        assert b"tree/empty/.nobackup" in paths

    def test_two_paths_of_one_name_are_refused_with_the_remedy(self, make: Make, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "other" / "tree").mkdir(parents=True)
        source = make(tree, tmp_path / "other" / "tree")
        with pytest.raises(SourceError, match=r'write one of them as \{ path = ".*", name = "tree-2" \}'):
            source.capture()
        assert "would both be `tree`" in source.check()[0].what

    def test_a_pattern_that_matches_nothing_and_an_empty_source_are_told(self, make: Make, tree: Path) -> None:
        problems = make(tree, include=["*.none"], exclude=["*.tmp", "*.bin"]).check()
        text = " ".join(problem.what for problem in problems)
        assert "`*.none` of `include` matches nothing" in text
        assert "`*.tmp` of `exclude` matches nothing" in text
        assert "*.bin" not in text
        assert "nothing to restore" in text
        assert not any(problem.fatal for problem in problems)

    def test_the_folder_of_a_database_is_told_of(self, make: Make, tree: Path) -> None:
        for name in ("vectors/chroma.sqlite3", "cluster/PG_VERSION", "cluster/base/5/PG_VERSION"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text("15")
        problems = [problem for problem in make(tree).check() if "runs" in problem.what]
        assert [problem.what.partition(": ")[0] for problem in problems] == [
            "`tree/cluster` is the folder of a PostgreSQL",
            "`tree/vectors` is the folder of a Chroma",
        ]
        assert "`chroma`" in problems[1].advice
        assert not any(problem.fatal for problem in problems)
        assert not make(tree, exclude=["/vectors/", "/cluster/"]).check()

    def test_folders_come_with_their_own_entry(self, source: FileTree, tree: Path) -> None:
        item = next(iter(source.capture()))
        assert item.entry[:3] == (b"tree", FOLDER, stat.S_IMODE(tree.stat().st_mode))
        assert item.open is None

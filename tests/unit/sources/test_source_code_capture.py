"""What is captured of a repository, when it is read again, and that a bundle is whole or not there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import SourceError
from tasks.item import Item, Unreadable
from tasks.sources.git import bundle
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.memory_items import Saved, read_all
from tests.git_sample import ENVIRONMENT, commit, git, init, rich, state
from tests.repositories import about, create, local

pytestmark = pytest.mark.needs("git")

BUNDLE = b"site/repository.bundle"


def made(*repositories: object, **options: object) -> SourceCode:
    settings = {"kind": SourceCode.kind, "repositories": repositories, **options}
    return SourceCode("code", SourceCode.Settings.model_validate(settings))  # type: ignore[arg-type]  # its own class


def paths(saved: Saved) -> set[bytes]:
    return {item.entry.path for item in saved}


def facts(saved: Saved, name: str = "site") -> dict[str, Any]:
    found: dict[str, Any] = saved.facts["repositories"][name]
    return found


def written(saved: Saved, folder: Path, path: bytes = BUNDLE) -> Path:
    file = folder / "repository.bundle"
    file.write_bytes(saved[path].content)
    return file


# The bundle


def test_git_takes_the_bundle_for_a_whole_history(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    file = written(Saved(made(site).capture()), tmp_path)
    empty = init(tmp_path / "empty")
    git(empty, "bundle", "verify", str(file))
    assert b"complete history" in git(empty, "bundle", "verify", str(file))
    listed = git(empty, "bundle", "list-heads", str(file)).splitlines()
    named = git(site, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    assert sorted(listed) == sorted([*named, git(site, "rev-parse", "HEAD").strip() + b" HEAD"])


def test_git_clones_from_the_bundle_alone(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    file = written(Saved(made(site).capture()), tmp_path)
    git(tmp_path, "clone", "--quiet", "--mirror", str(file), "clone")
    assert state(tmp_path / "clone")["objects"] == git_objects(site)


def git_objects(site: Path) -> bytes:
    return b"\n".join(sorted(git(site, "rev-list", "--objects", "--all").splitlines()))


def test_a_bundle_without_a_reference_is_still_a_bundle(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    (site / "a.py").write_text("staged, in no commit\n")
    git(site, "add", "a.py")
    file = written(Saved(made(site).capture()), tmp_path)
    assert (
        b"okay"
        in subprocess.run(
            ["git", "bundle", "verify", str(file)], cwd=site, env=ENVIRONMENT, capture_output=True, check=True
        ).stderr
    )


def test_a_repository_without_an_object_has_no_bundle(tmp_path: Path) -> None:
    saved = Saved(made(init(tmp_path / "site")).capture())
    assert BUNDLE not in paths(saved)
    assert facts(saved)["whole"]
    assert facts(saved)["objects"] == 0


def test_the_same_history_gives_the_same_bundle_however_it_is_packed(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    loose = Saved(made(site).capture())[BUNDLE]
    git(site, "gc", "--quiet")
    packed = Saved(made(site).capture())[BUNDLE]
    git(site, "repack", "-a", "-d", "-f", "--quiet", "--depth=5")
    assert Saved(made(site).capture())[BUNDLE] == packed == loose


def test_a_new_commit_leaves_most_of_the_bundle_as_it_was(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    for night in range(20):
        commit(site, {f"{name}.txt": f"{name} {night}\n" * 2000 for name in ("one", "two", "three")})
    before = Saved(made(site).capture())[BUNDLE].content
    commit(site, {"two.txt": "changed\n"})
    after = Saved(made(site).capture())[BUNDLE].content
    pieces = {before[at : at + 512] for at in range(len(before) - 512)}
    found = sum(after[at : at + 512] in pieces for at in range(0, len(after) - 512, 512))
    assert found > 0.95 * len(after) / 512


def test_a_history_that_is_too_large_keeps_the_differences_of_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = init(tmp_path / "site")
    for night in range(20):
        commit(site, {"a.txt": "".join(f"line {line}\n" for line in range(5000)) + f"{night}\n"})
    git(site, "gc", "--quiet")
    whole = Saved(made(site).capture())[BUNDLE]
    monkeypatch.setattr(bundle, "WHOLE_LIMIT", 100_000)
    saved = Saved(made(site).capture())
    assert len(saved[BUNDLE].content) < len(whole.content) / 10
    git(init(tmp_path / "empty"), "bundle", "verify", str(written(saved, tmp_path)))
    made(site).restore(saved, saved, tmp_path / "copy", Restoring())
    assert state(tmp_path / "copy/site") == state(site)


def broken(site: Path) -> str:
    """Removes one file's content from the history, and returns its name."""
    name = git(site, "rev-parse", "HEAD~1:kept.py").decode().strip()
    (site / ".git/objects" / name[:2] / name[2:]).unlink()
    return name


def test_a_missing_object_is_told_and_no_short_bundle_is_stored(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    name = broken(site)
    saved = Saved(made(site).capture())
    assert BUNDLE not in paths(saved)
    (flaw,) = saved.flaws
    assert (flaw.path, flaw.what) == (BUNDLE, "unreadable")
    assert name in flaw.why
    assert "\n" not in flaw.why
    assert facts(saved)["whole"] is False
    assert b"site/working-tree/untracked/notes.txt" in paths(saved)


def test_a_damaged_object_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    commit(site, {f"{number}.bin": os.urandom(200_000) for number in range(9)})
    name = git(site, "rev-parse", "HEAD:8.bin").decode().strip()
    path = site / ".git/objects" / name[:2] / name[2:]
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"damaged")
    stream = opened(made(site), BUNDLE)
    with pytest.raises(Unreadable):
        read_all(stream)
    stream.close()


def opened(source: SourceCode, path: bytes) -> Any:
    for item in source.capture():
        if item.entry.path == path:
            assert item.open
            return item.open()
    raise AssertionError("no such item")


def test_a_git_that_is_killed_in_the_middle_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    commit(site, {f"{number}.bin": os.urandom(1_000_000) for number in range(9)})
    stream = opened(made(site), BUNDLE)
    buffer = memoryview(bytearray(10_000))
    for _ in range(5):
        assert stream.readinto(buffer)
    stream._pack._process.kill()
    with pytest.raises(Unreadable):
        read_all(stream)
    stream.close()


def test_a_stream_that_is_closed_early_leaves_no_git_behind(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    commit(site, {"large.bin": os.urandom(3_000_000)})
    stream = opened(made(site), BUNDLE)
    stream.readinto(memoryview(bytearray(1000)))
    stream.close()
    assert stream._pack._process.returncode is not None


def test_commits_that_come_during_a_capture_do_not_mix_into_it(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    commit(site, {f"{number}.txt": str(number) for number in range(50)})
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            commit(site, {"busy.txt": str(number)})
            git(site, "repack", "-a", "-d", "--quiet")

    busy = threading.Thread(target=work)
    busy.start()
    try:
        source = made(site, uncommitted=False)
        for number in range(5):
            saved = Saved(source.capture())
            assert [flaw for flaw in saved.flaws if flaw.path == BUNDLE] == []
            source.restore(saved, saved, tmp_path / f"copy{number}", Restoring())
            head = git(tmp_path / f"copy{number}/site", "rev-parse", "HEAD").decode().strip()
            assert head == facts(saved)["head_commit"]
    finally:
        ended.set()
        busy.join()


# What is read again


def test_an_unchanged_repository_is_not_bundled_again(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    repository = create(local(tmp_path / "stored"))
    first = repository.save(made(site).capture(), about(1), repository.destination)
    second = repository.save(made(site).capture(), about(2), repository.destination)
    assert first.figures["content_bytes"] > 3000
    assert second.figures["read_bytes"] < 1000, "only repository.json, which is always read"
    assert second.figures["new_bytes"] == 0
    assert (second.complete, second.facts) == (True, first.facts)


@pytest.mark.parametrize(
    "command",
    [
        ("commit", "--allow-empty", "--message", "x"),
        ("tag", "other"),
        ("branch", "--delete", "--force", "feature/one"),
        ("stash", "drop", "--quiet", "stash@{1}"),
        ("checkout", "--quiet", "--detach"),
        ("symbolic-ref", "HEAD", "refs/heads/feature/one"),
        ("notes", "remove", "HEAD"),
    ],
)
def test_whatever_changes_what_a_repository_names_makes_it_be_read_again(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    site = rich(tmp_path / "site")
    before = bundle_entry(site)
    assert bundle_entry(site) == before
    git(site, *command)
    assert bundle_entry(site).version != before.version


def bundle_entry(site: Path) -> Any:
    return next(item.entry for item in made(site).capture() if item.entry.path == BUNDLE)


def test_a_version_fits_the_record_of_an_item(tmp_path: Path) -> None:
    entry = bundle_entry(rich(tmp_path / "site"))
    assert all(0 < number < 1 << 63 for number in entry.version)
    assert entry.size == -1
    assert entry.mtime_ns == 1_700_000_000_000_000_000


# What is kept


def test_without_uncommitted_only_what_is_committed_is_kept(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    source = made(site, uncommitted=False)
    saved = Saved(source.capture())
    assert not [path for path in paths(saved) if path.startswith((b"site/working-tree", b"site/git/index"))]
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert git(tmp_path / "copy/site", "status", "--porcelain") == b""
    assert source.examine(tmp_path / "copy") == saved.facts


def test_excluded_files_are_left_out_of_what_is_not_committed(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / "large.bin").write_bytes(b"\0" * 1000)
    source = made(site, exclude=["*.bin", "untracked/", "modified.py"])
    saved = Saved(source.capture())
    kept = {path for path in paths(saved) if path.startswith(b"site/working-tree/")}
    assert kept == {b"site/working-tree/run.sh", b"site/working-tree/staged.py"}
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts


def test_a_repository_inside_another_that_does_not_track_it_is_kept_file_by_file(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    inner = init(site / "vendor/inner")
    head = commit(inner, {"a.py": "a = 1\n"})
    source = made(site)
    saved = Saved(source.capture())
    assert facts(saved)["nested_repositories"] == ["vendor/inner"]
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert git(tmp_path / "copy/site/vendor/inner", "rev-parse", "HEAD").decode().strip() == head
    assert git(tmp_path / "copy/site/vendor/inner", "status", "--porcelain") == b""


def test_submodules_are_named_and_kept_when_they_are_named_as_repositories(tmp_path: Path) -> None:
    library = init(tmp_path / "library")
    head = commit(library, {"lib.py": "lib = 1\n"})
    site = init(tmp_path / "site")
    git(site, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "third/lib")
    commit(site, {"a.py": "a = 1\n"})
    (site / "third/lib/new.py").write_text("new\n")
    source = made(site, site / "third/lib")
    saved = Saved(source.capture())
    assert facts(saved)["named_submodules"] == [{"path": "third/lib", "url": str(library), "commit": head}]
    assert facts(saved, "lib")["head_commit"] == head
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert git(tmp_path / "copy/lib", "status", "--porcelain") == b"?? new.py\n"
    assert git(tmp_path / "copy/site", "status", "--porcelain") == b""


def test_a_linked_working_tree_is_kept_as_a_repository_of_its_own(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    git(site, "worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    linked = tmp_path / "linked"
    (linked / "kept.py").write_text("# changed in the linked tree\n")
    (linked / "new.py").write_text("new\n")
    before = state(linked)
    source = made(linked)
    saved = Saved(source.capture())
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert (tmp_path / "copy/linked/.git").is_dir()
    assert state(tmp_path / "copy/linked") == before
    assert source.examine(tmp_path / "copy") == saved.facts


def test_what_only_another_working_tree_has_checked_out_is_in_the_bundle_too(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    git(site, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    only = commit(tmp_path / "linked", {"only.py": "only here\n"})
    source = made(site)
    saved = Saved(source.capture())
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert git(tmp_path / "copy/site", "cat-file", "-t", only) == b"commit\n"
    assert source.examine(tmp_path / "copy") == saved.facts


def test_a_bare_repository_beside_its_working_trees_brings_none_of_their_files(tmp_path: Path) -> None:
    work = rich(tmp_path / "work")
    top = tmp_path / "site"
    top.mkdir()
    git(tmp_path, "clone", "--quiet", "--bare", str(work), "site/.git")
    git(top, "worktree", "add", "--quiet", "main")
    saved = Saved(made(top).capture())
    assert saved.flaws == []
    assert not [path for path in paths(saved) if path.startswith(b"site/working-tree")]


def large_files(site: Path, *, fetched: bool = True) -> bytes:
    """A repository as git-lfs leaves it: a pointer in the history, the file in the working tree and beside it."""
    content = b"weights" * 10_000
    name = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {len(content)}\n"
    init(site)
    commit(site, {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin": pointer, "a.py": "1\n"})
    (site / "model.bin").write_bytes(content)
    for key in ("clean", "smudge", "process"):
        git(site, "config", f"filter.lfs.{key}", "false")
    if fetched:
        stored = site / ".git/lfs/objects" / name[:2] / name[2:4] / name
        stored.parent.mkdir(parents=True)
        stored.write_bytes(content)
    return content


def test_large_files_are_named_kept_and_back_in_the_working_tree(tmp_path: Path) -> None:
    content = large_files(tmp_path / "site")
    name = hashlib.sha256(content).hexdigest()
    source = made(tmp_path / "site")
    saved = Saved(source.capture())
    assert facts(saved)["lfs"] == {
        "pointers": 1,
        "bytes": len(content),
        "named": [{"path": "model.bin", "sha256": name, "size": len(content)}],
        "missing": 0,
    }
    assert facts(saved)["modified"] == 0
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    copy = tmp_path / "copy/site"
    assert (copy / "model.bin").read_bytes() == content
    assert (copy / ".git/lfs/objects" / name[:2] / name[2:4] / name).read_bytes() == content
    assert source.examine(tmp_path / "copy") == saved.facts


def test_large_files_are_left_out_on_request(tmp_path: Path) -> None:
    large_files(tmp_path / "site")
    saved = Saved(made(tmp_path / "site", lfs=False, exclude=["*.bin"]).capture())
    assert not [path for path in paths(saved) if b"lfs" in path]
    assert facts(saved)["lfs"]["pointers"] == 1


def test_the_pointers_of_a_bare_repository_are_named_too(tmp_path: Path) -> None:
    large_files(tmp_path / "work")
    git(tmp_path, "clone", "--quiet", "--bare", "work", "site")
    saved = Saved(made(tmp_path / "site").capture())
    assert facts(saved)["lfs"]["missing"] == facts(saved)["lfs"]["pointers"] == 1


def test_a_partial_clone_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    origin = init(tmp_path / "origin")
    for number in range(4):
        commit(origin, {"a.py": f"a = {number}\n"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", origin.as_uri(), "site")
    site = tmp_path / "site"
    (site / "a.py").write_text("a = 'changed'\n")
    before = git(site, "status", "--porcelain")
    source = made(site)
    saved = Saved(source.capture())
    assert saved.flaws == []
    assert facts(saved)["partial"] is True
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert git(tmp_path / "copy/site", "status", "--porcelain") == before
    assert git(tmp_path / "copy/site", "log", "-p", "--format=%s").count(b"\n+a = ") == 4, "fetched when it is needed"


def test_a_reference_to_nothing_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / ".git/refs/heads/garbage").write_text("no name\n")
    (site / ".git/refs/heads/gone").write_text("1" * 40 + "\n")
    saved = Saved(made(site).capture())
    assert {(flaw.path, flaw.what, flaw.why.split()[0]) for flaw in saved.flaws} == {
        (BUNDLE, "partial", "refs/heads/garbage"),
        (BUNDLE, "partial", "refs/heads/gone"),
    }
    assert facts(saved)["whole"] is False
    made(site).restore(saved, saved, tmp_path / "copy", Restoring())
    branches = git(tmp_path / "copy/site", "branch", "--format=%(refname:short)").split()
    assert branches == [b"feature/one", b"main"]


def test_a_file_that_goes_away_between_listing_and_reading_is_told(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    saved = Saved(_Interrupted(made(site), site / "untracked/notes.txt"))
    assert [(flaw.path, flaw.what) for flaw in saved.flaws] == [(b"site/working-tree/untracked/notes.txt", "vanished")]


class _Interrupted:
    """A capture during which a file goes away, once git has listed it."""

    def __init__(self, source: SourceCode, victim: Path) -> None:
        self._capture, self._victim = source.capture(), victim
        self.stored, self.flaws, self.facts = self._capture.stored, self._capture.flaws, self._capture.facts

    def __iter__(self) -> Iterator[Item]:
        for item in self._capture:
            if item.entry.path == BUNDLE:
                self._victim.unlink()
            yield item


# Several repositories, and none


def test_one_bad_repository_does_not_keep_the_others_from_being_stored(tmp_path: Path) -> None:
    good, bad = rich(tmp_path / "site"), rich(tmp_path / "bad")
    (bad / ".git/config").write_text("[core\n")
    saved = Saved(made(bad, good).capture())
    (flaw,) = saved.flaws
    assert (flaw.path, flaw.what) == (b"bad/repository.bundle", "unreadable")
    assert facts(saved, "bad") == {"whole": False}
    assert facts(saved)["whole"] is True


def test_two_of_one_name_are_an_error_that_says_what_to_write(tmp_path: Path) -> None:
    one, other = init(tmp_path / "a/site"), init(tmp_path / "b/site")
    with pytest.raises(SourceError, match="site-2"):
        made(one, other).capture()
    saved = Saved(made(one, {"path": other, "name": "site-b"}).capture())
    assert {path.split(b"/")[0] for path in paths(saved)} == {b"site", b"site-b"}


@pytest.mark.parametrize("name", ["nothing", "folder", "file", "site/inner", "pointer"])
def test_what_is_no_repository_is_one_clear_line(name: str, tmp_path: Path) -> None:
    rich(tmp_path / "site")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "pointer").mkdir()
    (tmp_path / "pointer/.git").write_text("gitdir: ../gone\n")
    with pytest.raises(SourceError) as raised:
        made(tmp_path / name).capture()
    text = str(raised.value)
    assert str(tmp_path / name) in text
    assert "is not a git repository" in text or "is not there" in text
    assert "\n" not in text
    if name == "site/inner":
        assert f"inside the repository `{tmp_path / 'site'}`" in text


def test_without_git_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = rich(tmp_path / "site")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="`git` is not installed"):
        Saved(made(site).capture())
    (problem,) = made(site).check()
    assert problem.fatal

"""A bundle is whole or not there, and is made only when there is something new."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tasks.item import Unreadable
from tasks.sources.git import bundle
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.memory_items import Saved, read_all
from tests.git_sample import ENVIRONMENT, commit, git, init, made, rich, state
from tests.repositories import about, create, local

pytestmark = pytest.mark.needs("git")

BUNDLE = b"site/repository.bundle"


def paths(saved: Saved) -> set[bytes]:
    return {item.entry.path for item in saved}


def facts(saved: Saved, name: str = "site") -> dict[str, Any]:
    found: dict[str, Any] = saved.facts["repositories"][name]
    return found


def written(saved: Saved, folder: Path, path: bytes = BUNDLE) -> Path:
    file = folder / "repository.bundle"
    file.write_bytes(saved[path].content)
    return file


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


def test_an_object_that_a_power_cut_left_empty_is_told_and_all_else_is_stored(tmp_path: Path) -> None:
    site, good = rich(tmp_path / "site"), rich(tmp_path / "good")
    name = broken(site)
    (site / ".git/objects" / name[:2] / name[2:]).touch()
    saved = Saved(made(site, good).capture())
    (flaw,) = saved.flaws
    assert (flaw.path, flaw.what) == (BUNDLE, "unreadable")
    assert name in flaw.why
    assert {b"good/repository.bundle", b"site/working-tree/untracked/notes.txt"} <= paths(saved)


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
        for number in range(3):
            saved = Saved(source.capture())
            assert [flaw for flaw in saved.flaws if flaw.path == BUNDLE] == []
            source.restore(saved, saved, tmp_path / f"copy{number}", Restoring())
            head = git(tmp_path / f"copy{number}/site", "rev-parse", "HEAD").decode().strip()
            assert head == facts(saved)["head_commit"]
    finally:
        ended.set()
        busy.join()


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

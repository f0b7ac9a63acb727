"""A snapshot that no capture made is refused, or harms nothing when it is restored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.errors import BackupError, Damaged, UnsafePath
from tasks.item import FILE, FOLDER, SYMLINK, Entry, Stored
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.memory_items import MemoryItems, Saved
from tests.git_sample import commit, init, made, state

pytestmark = pytest.mark.needs("git")


def snapshot(tmp_path: Path) -> tuple[SourceCode, Saved]:
    site = init(tmp_path / "site")
    (site / "link").symlink_to(tmp_path / "outside")
    commit(site, {"one/target": "stolen\n", "linkXtarget": "stolen\n", "xgitXhooks": "stolen\n"})
    (tmp_path / "outside").mkdir()
    source = made(site)
    return source, Saved(source.capture())


def altered(saved: Saved, path: bytes, change: Callable[[bytes], bytes]) -> MemoryItems:
    def one(item: Stored) -> Stored:
        content = change(item.content)
        return item._replace(entry=item.entry._replace(size=len(content)), content=content)

    return MemoryItems(one(item) if item.entry.path == path else item for item in saved)


def renamed(before: bytes, after: bytes) -> Callable[[bytes], bytes]:
    """An index that no git makes."""

    def change(index: bytes) -> bytes:
        assert before in index
        body = index[:-20].replace(before, after)
        return body + hashlib.sha1(body, usedforsecurity=False).digest()

    return change


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"one/target", b"../outside"),
        (b"one/target", b"/tmp/targe"),
        (b"xgitXhooks", b".git/hooks"),
        (b"one/", b".GIT/"),
    ],
)
def test_an_index_that_names_what_git_never_tracks_is_refused(before: bytes, after: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/git/index", renamed(before, after))
    with pytest.raises((UnsafePath, Damaged)):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "copy") == []


def test_a_tracked_link_is_not_followed_by_what_is_below_its_name(tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/git/index", renamed(b"linkXtarget", b"link/target"))
    try:
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    except BackupError:
        assert os.listdir(tmp_path / "copy") == []
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"head": "refs/heads/main"', b'"head": "--exec=touch"'),
        (b'"head": "refs/heads/main"', b'"head": "refs/heads/../../../outside/x"'),
        (b'"settings": [', b'"settings": ["core.sshCommand=touch", '),
        (b'"symbolic": {', b'"symbolic": {"refs/../../outside/x": "refs/heads/main"'),
        (b'"stash": []', b'"stash": [["\\n", "a <b> 1 +0000", "x"]]'),
        (b'"object_format": "sha1"', b'"object_format": "sha256"'),
        (b'"format": 1', b'"format": null'),
        (b"{", b"["),
    ],
)
def test_a_document_that_no_capture_writes_is_refused(before: bytes, after: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/repository.json", lambda text: text.replace(before, after, 1))
    assert evil[b"site/repository.json"].content != saved[b"site/repository.json"].content
    with pytest.raises(Damaged) as raised:
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert "\n" not in str(raised.value)
    assert not os.listdir(tmp_path / "outside")
    assert not (tmp_path / "copy").exists() or not os.listdir(tmp_path / "copy")


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle[:-10],
        lambda bundle: bundle[:100],
        lambda bundle: b"",
        lambda bundle: b"no bundle" + bundle,
        lambda bundle: bundle.replace(b"\n\n", b"\n-" + b"1" * 40 + b" before\n\n", 1),
        lambda bundle: bundle.replace(b" refs/heads/main\n", b" refs/heads/../../../../outside/x\n", 1),
        lambda bundle: bundle[:-30] + bytes([bundle[-30] ^ 1]) + bundle[-29:],
    ],
)
def test_a_bundle_that_no_git_makes_is_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/repository.bundle", change)
    with pytest.raises(Damaged):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "copy") == []
    assert not os.listdir(tmp_path / "outside")


@pytest.mark.parametrize("name", [b"index", b"shallow", b"sharedindex.0", b"config", b"objects", b"info", b"hooks"])
def test_git_writes_through_no_link_that_a_snapshot_puts_among_its_own_files(name: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    (tmp_path / "outside/target").write_text("precious")
    for target in (tmp_path / "outside/target", tmp_path / "outside"):
        link = Entry(b"site/git/" + name, SYMLINK, 0o777, link=os.fsencode(target))
        others = (item for item in saved if not (item.entry.path + b"/").startswith(link.path + b"/"))
        evil = MemoryItems(sorted([*others, Stored(link)], key=lambda item: item.entry.path.split(b"/")))
        with suppress(BackupError):
            source.restore(evil, evil, tmp_path / f"copy of {target.name}", Restoring())
        assert os.listdir(tmp_path / "outside") == ["target"]
        assert (tmp_path / "outside/target").read_text() == "precious"


@pytest.mark.parametrize("path", [b"..", b"../outside", b"site/working-tree/../../../outside/x", b"/tmp/x", b"site//x"])
def test_a_snapshot_that_leads_out_is_refused(path: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    kind = FOLDER if path == b".." else FILE
    evil = MemoryItems([*saved, Stored(Entry(path, kind, size=3), content=b"out")])
    with pytest.raises(UnsafePath):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "outside") == []


def test_the_working_tree_may_hold_a_link_out_but_nothing_goes_through_it(tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    through = Stored(Entry(b"site/working-tree/link/x", FILE, size=3), content=b"out")
    parent = Stored(Entry(b"site/working-tree", FOLDER, 0o755))
    evil = MemoryItems([*saved, parent, through])
    with pytest.raises(BackupError):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "copy") == []


def test_the_good_snapshot_of_these_tests_is_restored(tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert state(tmp_path / "copy/site") == state(tmp_path / "site")

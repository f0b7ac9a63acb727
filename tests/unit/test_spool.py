"""The spool: what counts, what waits, what is collected; killed and raced."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.errors import Damaged, NotFound, SourceError, Unavailable
from tasks.sealed import Sealed
from tasks.spool import Spool

DAY = 24 * 3600


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def seal(spool: Spool, run: str, snapshot: str = "20261123T023000Z-aaaaaaaa") -> Sealed:
    with spool.attempt("models", run) as attempt:
        (attempt / "pack").write_bytes(b"packed")
        return spool.seal(attempt, snapshot, "here", {"state": "done", "run": run})


def put_off(spool: Spool, file: str) -> Path:
    """A capture that wrote a file and then had to wait; its folder."""
    with suppress(Unavailable), spool.attempt("models", "run-1") as attempt:
        (attempt / file).write_bytes(b"packed")
        raise Unavailable("the destination is away")
    return attempt


def test_a_sealed_capture_is_found_with_its_outcome(spool: Spool) -> None:
    sealed = seal(spool, "run-1")
    assert spool.sealed("models", "run-1") == sealed
    assert sealed.outcome == {"state": "done", "run": "run-1"}
    assert (sealed.folder / "pack").read_bytes() == b"packed"
    assert spool.sealed("models", "run-2") is None
    assert spool.sealed("logs", "run-1") is None


def test_what_waits_comes_oldest_first_until_every_destination_has_it(spool: Spool) -> None:
    newer = seal(spool, "run-b", "20261124T023000Z-aaaaaaaa")
    older = seal(spool, "run-a", "20261123T023000Z-bbbbbbbb")
    assert spool.pending("models", "here") == [older, newer]
    spool.settle(older, "here", ["here", "offsite"])
    assert spool.pending("models", "here") == [newer]
    assert spool.pending("models", "offsite") == [older, newer]
    spool.settle(older, "offsite", ["here", "offsite"])
    assert spool.pending("models", "offsite") == [newer]
    assert not older.folder.exists()
    spool.settle(older, "offsite", ["here", "offsite"])


def test_what_the_last_destination_has_is_not_left_where_its_upload_was_killed_before_clearing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = seal(spool, "run-1")
    spool.settle(sealed, "here", ["here", "offsite"])
    with monkeypatch.context() as killed, suppress(KeyboardInterrupt):
        killed.setattr(Path, "rename", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        spool.settle(sealed, "offsite", ["here", "offsite"])
    assert spool.pending("models", "offsite") == [sealed]
    spool.settle(sealed, "offsite", ["here", "offsite"])
    assert spool.is_empty()


def test_an_unsealed_attempt_does_not_wait_for_upload(spool: Spool) -> None:
    with spool.attempt("models", "run-1") as attempt:
        (attempt / "pack").write_bytes(b"packed")
        assert spool.pending("models", "here") == []


def test_a_failed_capture_leaves_nothing(spool: Spool) -> None:
    with pytest.raises(SourceError), spool.attempt("models", "run-1") as attempt:
        raise SourceError("the folder is gone")
    assert not attempt.exists()


def test_a_capture_that_waits_for_something_goes_on_where_it_was(spool: Spool) -> None:
    first = put_off(spool, "pack")
    with spool.attempt("models", "run-1") as second:
        assert second == first
        assert (second / "pack").read_bytes() == b"packed"


def test_a_capture_beside_a_living_one_gets_its_own_folder_and_the_first_sealed_counts(spool: Spool) -> None:
    with spool.attempt("models", "run-1") as slow:
        with spool.attempt("models", "run-1") as quick:
            assert quick != slow
            first = spool.seal(quick, "20261123T023000Z-aaaaaaaa", "here", {"by": "quick"})
        assert spool.seal(slow, "20261123T023000Z-aaaaaaaa", "here", {"by": "slow"}) == first
    assert first.outcome == {"by": "quick"}
    assert quick.exists()
    assert not slow.exists()


def test_a_killed_capture_is_taken_up_by_the_next(spool: Spool) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from tasks.spool import Spool\n"
        "with Spool(pathlib.Path(sys.argv[1])).attempt('models', 'run-1') as attempt:\n"
        "    (attempt / 'pack').write_bytes(b'packed')\n"
        "    print(attempt, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(spool.folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        theirs = Path(child.stdout.readline().strip())
        with spool.attempt("models", "run-1") as beside:
            assert beside != theirs
        spool.discard(beside)
        child.send_signal(signal.SIGKILL)
    with spool.attempt("models", "run-1") as ours:
        assert ours == theirs
        assert (ours / "pack").exists()


def test_an_abandoned_attempt_is_collected_only_when_it_is_old_and_nobody_holds_it(spool: Spool) -> None:
    attempt = put_off(spool, "pack")
    assert spool.collect() == 0
    with spool.attempt("models", "run-1"):
        assert spool.collect(now=time.time() + 3 * DAY) == 0
    assert spool.collect(now=time.time() + 3 * DAY) == 1
    assert not attempt.exists()
    assert list(spool.folder.glob("*/*")) == []


def test_collecting_spares_what_is_sealed_and_removes_what_lies_beside_it(spool: Spool) -> None:
    with spool.attempt("models", "run-1") as living:
        sealed = seal(spool, "run-1")
        assert sealed.folder != living
        assert spool.collect() == 0
    assert spool.collect() == 1
    assert not living.exists()
    assert spool.collect(now=time.time() + 365 * DAY) == 0
    assert spool.pending("models", "here") == [sealed]


def test_an_attempt_whose_run_is_over_is_collected_as_soon_as_nobody_holds_it(spool: Spool) -> None:
    attempt = put_off(spool, "pack")
    with spool.attempt("models", "run-1"):
        assert spool.collect(is_over=lambda source, run: (source, run) == ("models", "run-1")) == 0
    assert spool.collect(is_over=lambda source, run: run == "run-2") == 0
    assert spool.collect(is_over=lambda source, run: (source, run) == ("models", "run-1")) == 1
    assert not attempt.exists()


def test_what_is_sealed_while_it_is_looked_at_stays(spool: Spool) -> None:
    def is_over(source: str, run: str) -> bool:
        seal(spool, "run-1")
        return True

    attempt = put_off(spool, "pack")
    assert spool.collect(is_over=is_over) == 0
    assert [sealed.folder for sealed in spool.pending("models", "here")] == [attempt]
    assert attempt.exists()


def test_a_run_that_another_worker_removes_meanwhile_is_nothing_to_collect(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = put_off(spool, "pack").parent
    scandir, taken = os.scandir, list[Path]()

    def late(path: object) -> object:
        if path == run and not taken:
            taken.append(run)
            shutil.rmtree(run)
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", late)
    assert spool.collect() == 0
    assert taken == [run]


def test_what_a_kill_left_half_removed_is_collected(spool: Spool) -> None:
    sealed = seal(spool, "run-1")
    sealed.folder.parent.rename(spool.folder / ".trash-0a1b")
    assert spool.pending("models", "here") == []
    assert spool.collect() == 1
    assert list(spool.folder.iterdir()) == [spool.folder / "models"]


def test_a_seal_that_was_killed_before_it_was_linked_does_not_count(spool: Spool) -> None:
    attempt = put_off(spool, "pack")
    (attempt.parent / "draft-0a1b").write_text("{")
    assert spool.sealed("models", "run-1") is None
    assert seal(spool, "run-1").folder == attempt


def test_a_scratch_folder_is_empty_each_time(spool: Spool) -> None:
    with spool.attempt("models", "run-1") as attempt:
        (spool.scratch(attempt) / "half").touch()
        assert list(spool.scratch(attempt).iterdir()) == []


def test_a_run_that_would_lead_out_of_the_spool_is_refused(spool: Spool) -> None:
    with pytest.raises(NotFound), spool.attempt("models", "../../elsewhere"):
        pass
    with pytest.raises(NotFound):
        spool.sealed("models", "..")


def test_folders_that_are_none_of_its_own_are_left_alone(spool: Spool) -> None:
    sealed = seal(spool, "run-1")
    strange = [
        spool.folder / "lost+found" / "run-2",
        spool.folder / "models" / "old ones",
        spool.folder / "Models" / "x",
    ]
    for folder in strange:
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    assert spool.all_sealed() == spool.pending("models", "here") == [sealed]
    assert spool.drop_stored() == spool.collect(now=time.time() + 365 * DAY) == 0
    assert all(folder.is_dir() for folder in strange)
    spool.settle(sealed, "here", ["here"])
    assert spool.collect() == 0
    assert spool.is_empty()


def test_a_folder_that_nobody_may_look_into_is_not_counted(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        folder = Path(name) / "spool"
        spool = Spool(folder)
        sealed = seal(spool, "run-1")
        closed = folder / "lost+found"
        closed.mkdir(mode=0)
        for path in (Path(name), folder, *sealed.folder.parents[:2], sealed.folder):
            path.chmod(0o755)
        code = (
            "import os, pathlib, sys\n"
            "from tasks.spool import Spool\n"
            "if os.geteuid() == 0:\n"
            "    os.setuid(65534)\n"
            "try:\n"
            "    os.listdir(sys.argv[1] + '/lost+found')\n"
            "except PermissionError:\n"
            "    spool = Spool(pathlib.Path(sys.argv[1]))\n"
            "    print(len(spool.all_sealed()), spool.used() > 0)\n"
        )
        told = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        assert told.stdout == "1 True\n"
        assert closed.is_dir()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"text"', '{"attempt": "a"}', b"\xff\xfe", "[" * 30_000]
    + [
        json.dumps({"attempt": name, "snapshot": "s", "reference": "here", "outcome": {}})
        for name in ("../a", "", "..")
    ],
)
def test_a_capture_that_is_unreadable_is_told_of_left_alone_and_in_nobodys_way(spool: Spool, text: str | bytes) -> None:
    broken, other = seal(spool, "run-1"), seal(spool, "run-2")
    file = broken.folder.parent / "sealed.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Damaged, match=re.escape(f"`{file}`")):
        spool.sealed("models", "run-1")
    assert spool.all_sealed() == spool.pending("models", "here") == [other]
    assert len(spool.unreadable("models")) == 1
    assert str(broken.folder.parent) in spool.unreadable("models")[0]
    assert spool.unreadable("logs") == []
    assert spool.drop_stored() == spool.collect(now=time.time() + 365 * DAY, is_over=lambda *_: True) == 0
    assert (broken.folder / "pack").read_bytes() == b"packed"
    assert not spool.is_empty()


def as_nobody(spool: Spool, code: str) -> str:
    """What a process says that may not read what others closed."""
    start = "import os, pathlib, sys\nfrom tasks.errors import Refused, Unavailable\nfrom tasks.spool import Spool\n"
    start += "os.geteuid() or os.setuid(65534)\nspool = Spool(pathlib.Path(sys.argv[1]))\n"
    command = [sys.executable, "-c", start + code, str(spool.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_another_user_left_is_in_the_way_of_its_own_source_alone(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        spool = Spool(Path(name) / "spool")
        closed, other = seal(spool, "run-1"), seal(spool, "run-2")
        for path in (spool.folder / "aaa", spool.folder / "config"):
            path.mkdir()
        for path in (Path(name), *spool.folder.rglob("*"), spool.folder):
            path.chmod(0o777)
        (closed.folder.parent / "sealed.json").chmod(0)
        for path in (spool.folder / "aaa", spool.folder / "config"):
            path.chmod(0)
        told = as_nobody(
            spool,
            "print([each.run for each in spool.all_sealed()], [each.run for each in spool.pending('models', 'here')])\n"
            "print(spool.unreadable('models'), spool.drop_stored(), spool.collect(), spool.is_empty())\n"
            "try:\n    spool.pending('config', 'here')\nexcept Unavailable as error:\n    print(error)\n"
            "try:\n    spool.sealed('models', 'run-1')\nexcept Refused:\n    print('refused')\n",
        ).splitlines()
        assert told[0] == f"['{other.run}'] ['{other.run}']"
        assert str(closed.folder.parent / "sealed.json") in told[1]
        assert told[1].endswith("0 0 False")
        assert f"`{spool.folder / 'config'}` can't be used: Permission denied" in told[2]
        assert told[3] == "refused"
        for path in (spool.folder / "aaa", spool.folder / "config"):
            path.chmod(0o700)


def test_what_may_not_be_removed_stays_and_stops_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        spool = Spool(Path(name) / "spool")
        left = spool.folder / ".trash-0a1b"
        left.mkdir(parents=True)
        Path(name).chmod(0o755)
        spool.folder.chmod(0o1777)
        assert as_nobody(spool, "print(spool.collect())\n") == "0\n"
        assert left.is_dir()


def test_a_note_that_is_a_folder_is_told_of_and_in_nobodys_way(spool: Spool) -> None:
    file = seal(spool, "run-1").folder.parent / "sealed.json"
    other = seal(spool, "run-2")
    file.unlink()
    file.mkdir()
    assert spool.all_sealed() == spool.pending("models", "here") == [other]
    assert str(file) in spool.unreadable("models")[0]
    assert spool.collect(now=time.time() + 365 * DAY) == 0


def test_a_spool_that_is_a_link_to_nowhere_is_named_itself(spool: Spool) -> None:
    spool.folder.symlink_to("nowhere")
    with pytest.raises(Unavailable, match=f"`{spool.folder}` can't be used: it is no folder"):
        seal(spool, "run-1")


def test_a_spool_in_the_way_of_which_a_file_lies_is_unavailable(spool: Spool) -> None:
    spool.folder.write_text("")
    with pytest.raises(Unavailable, match="spool"), spool.attempt("models", "run-1"):
        pass

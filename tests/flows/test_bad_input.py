"""Bad input on the command line: each is one clear line, and no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.terminal import ROOT, Terminal
from tests.flows.trees import state_of


def test_no_configuration_says_where_it_looked(tmp_path: Path) -> None:
    said = Terminal(tmp_path).complaint("list", code=78)
    assert "init" in said
    assert "`--from PLACE`" in said, "the machine may be gone"


def test_of_a_source_that_was_removed_it_is_told_where_its_history_is(copied: Terminal) -> None:
    copied.edit("[sources.docs]", "[sources.papers]")
    for command in (("restore", "docs"), ("list", "docs"), ("show", "docs"), ("find", "*", "--source", "docs")):
        assert "`--from PLACE` has what it left" in copied.complaint(*command, code=66)
    assert "--from" not in copied.complaint("restore", "papers", "--destination", "nothere", code=66)
    copied.run("restore", "docs", "--from", "backups", "--recovery-sheet", "sheet.txt", "--to", "back")


def test_a_folder_that_is_not_there_is_not_initialized(tmp_path: Path) -> None:
    assert str(tmp_path / "typo") in Terminal(tmp_path).complaint("init", "typo", code=66)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_fails_its_source_alone(copied: Terminal) -> None:
    shutil.rmtree(copied.folder / "config")
    report = copied.json("run", code=1)
    assert [failure["step"] for failure in report["failures"]] == ["backup/config"]
    assert str(copied.folder / "config") in report["failures"][0]["message"]
    assert report["steps"]["verify/docs/local"]["state"] == "done"
    assert [f["what"] for f in copied.json("check", code=1) if f["state"] == "bad"] == ["source config"]


def test_a_folder_that_is_no_git_repository(copied: Terminal) -> None:
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[sources.code]\nkind = "source_code"\nrepositories = ["docs"]\n')
    report = copied.json("run", "--source", "code", code=1)
    assert "git repository" in report["failures"][0]["message"]
    assert len(report["failures"][0]["message"].splitlines()) == 1
    assert [f["what"] for f in copied.json("check", code=1) if f["state"] == "bad"] == ["source code"]


@pytest.mark.needs("prlimit")
def test_a_full_disk_fails_the_source_clearly_and_leaves_the_repository_whole(copied: Terminal) -> None:
    (copied.folder / "docs" / "noise.bin").write_bytes(os.urandom(6_000_000))
    report = copied.json("run", "--source", "docs", code=1, prefix=["prlimit", "--fsize=1500000"])
    assert report["failures"][0]["kind"] == "NoSpace"
    assert "free" in report["failures"][0]["message"]
    assert copied.json("verify", "docs", "--everything")[0]["state"] == "done"
    assert copied.json("run", "--source", "docs")["state"] == "done"


@pytest.mark.needs("setpriv")
def test_a_file_that_may_not_be_read_makes_the_snapshot_incomplete_unless_allowed(copied: Terminal) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    private = copied.folder / "docs" / "private.md"
    private.write_text("mine")
    private.chmod(0o600)
    os.chown(private, 65534, 65534)
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    report = copied.json("run", "--source", "docs", code=3, prefix=humble)
    assert report["steps"]["backup/docs"]["state"] == "incomplete"
    assert "docs/private.md" in report["steps"]["backup/docs"]["flaws"][0]
    assert copied.json("status", code=1)["good"] is False
    copied.edit("[sources.docs]", '[sources.docs]\nallow_incomplete = ["private.md"]')
    assert copied.json("run", "--source", "docs", prefix=humble)["state"] == "done"


def test_a_wrong_passphrase(copied: Terminal) -> None:
    (copied.folder / "keys/passphrase").write_text("wrong\n")
    assert "wrong passphrase" in copied.complaint("restore", "docs", "--to", "back", code=77)
    assert not (copied.folder / "back").exists()


@pytest.mark.parametrize("command", ["verify", "drill", "prune"])
def test_a_failure_ends_all_that_proves_with_the_code_that_help_names(copied: Terminal, command: str) -> None:
    (copied.folder / "keys/passphrase").write_text("another")
    assert {each["failure"]["kind"] for each in copied.json(command, code=77)} == {"WrongKey"}
    (copied.folder / "keys/passphrase").unlink()
    assert {each["failure"]["kind"] for each in copied.json(command, code=78)} == {"SettingsError"}


def test_a_folder_that_is_no_repository(lived: Terminal, tmp_path: Path) -> None:
    said = lived.complaint("restore", "docs", "--from", tmp_path, "--to", tmp_path / "back", code=66)
    assert "no repository" in said
    said = lived.complaint("restore", "nothing", "--from", "backups", "--to", tmp_path / "back", code=66)
    assert "config, docs" in said


def test_a_newer_format(copied: Terminal) -> None:
    marker = copied.folder / "backups/docs/repository"
    marker.chmod(0o600)
    marker.write_text(marker.read_text().replace('"format": 1', '"format": 99'))
    assert "format 99" in copied.complaint("list", "docs", code=66)


def test_a_destination_that_is_gone(copied: Terminal) -> None:
    (copied.folder / "backups").rename(copied.folder / "unmounted")
    assert "is not there" in copied.complaint("list", code=75)
    assert any(f["state"] == "bad" and f["what"] == "destination local" for f in copied.json("check", code=1))
    assert not (copied.folder / "backups").exists(), "a backup must never make the folder of a disk that is not mounted"


def test_a_destination_that_was_emptied_is_not_begun_anew_in_silence(copied: Terminal) -> None:
    shutil.rmtree(copied.folder / "backups/docs")
    report = copied.json("run", "--source", "docs", code=1)
    assert "holds none now" in report["failures"][0]["message"]
    status = copied.json("status", code=1)
    assert status["good"] is False
    (docs,) = [place for place in status["sources"] if place["source"] == "docs"]
    assert "holds none now" in docs["problem"]
    assert any(f["state"] == "bad" and f["what"] == "repository docs at local" for f in copied.json("check", code=1))
    shutil.rmtree(copied.folder / ".geometra-backup/cache/local/docs")
    assert copied.json("run", "--source", "docs")["state"] == "done"


def test_a_failed_run_is_not_good_whatever_was_proven_before(copied: Terminal) -> None:
    (copied.folder / "docs").rename(copied.folder / "away")
    copied.run("run", "--source", "docs", code=1)
    (docs,) = [place for place in copied.json("status", code=1)["sources"] if place["source"] == "docs"]
    assert "the last run failed" in docs["problem"]


def test_a_run_that_waits_says_why(copied: Terminal) -> None:
    (copied.folder / "backups").rename(copied.folder / "unmounted")
    run = subprocess.Popen(
        [sys.executable, "-m", "workers.cli.main", "run", "--source", "docs"],
        cwd=copied.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert run.stderr is not None
    try:
        line = run.stderr.readline()
    finally:
        run.terminate()
        run.stderr.close()
    assert line.startswith("backup/docs waits: ")
    assert "is not there" in line
    assert run.wait(30) == 128 + 15


def test_a_restore_without_a_passphrase_and_with_the_sheet_as_it_was_printed(lived: Terminal, tmp_path: Path) -> None:
    arguments = ("restore", "docs", "--from", "backups", "--to", tmp_path / "back")
    assert "no passphrase" in lived.complaint(*arguments, code=78, GEOMETRA_BACKUP_CONFIG=str(tmp_path / "none"))
    sheet = tmp_path / "printed.txt"
    bare = (lived.folder / "sheet.txt").read_text()
    sheet.write_text(f"Recovery sheet. Print it and lock it away.\n\n{bare}\nNext: check.\n")
    lived.run(*arguments, "--recovery-sheet", sheet)
    assert state_of(tmp_path / "back/docs") == state_of(lived.folder / "docs")


def test_a_folder_is_no_recovery_sheet(lived: Terminal) -> None:
    said = lived.complaint("list", "--from", "backups", "--recovery-sheet", "config", code=66)
    assert "there is no recovery sheet at `config`" in said


def test_a_keyring_document_that_has_rotted_is_told_from_a_wrong_passphrase(copied: Terminal, tmp_path: Path) -> None:
    right = (copied.folder / "keys/passphrase").read_text().strip()
    (stored,) = (copied.folder / "backups/docs/keys").iterdir()
    document = json.loads(stored.read_text())
    sealed = document["private"]["box"]
    document["private"]["box"] = sealed[:20] + ("B" if sealed[20] == "A" else "A") + sealed[21:]
    stored.write_text(json.dumps(document))
    arguments = ("restore", "docs", "--from", "backups", "--to", tmp_path / "back")
    told = copied.complaint(*arguments, code=65, GEOMETRA_BACKUP_PASSPHRASE=right)
    assert "the keyring document at `backups` is not what was stored" in told
    assert f"put `keyring.json` of a host or another destination in the place of `docs/keys/{stored.name}`" in told
    copied.run(*arguments[:-1], tmp_path / "by-sheet", "--recovery-sheet", "sheet.txt")
    shutil.copy(copied.folder / "keys/keyring.json", stored)
    assert "wrong passphrase" in copied.complaint(*arguments, code=77, GEOMETRA_BACKUP_PASSPHRASE="another")
    copied.run(*arguments, GEOMETRA_BACKUP_PASSPHRASE=right)
    assert state_of(tmp_path / "back/docs") == state_of(tmp_path / "by-sheet/docs")


def test_an_unknown_option_says_what_was_meant(copied: Terminal) -> None:
    copied.edit("timezone =", "timezon =")
    said = copied.complaint("list", code=78)
    assert "line " in said
    assert "`timezone`" in said


def test_two_plans_of_one_name(copied: Terminal) -> None:
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[plans.nightly]\nschedule = "0 3 * * *"\n')
    assert "nightly" in copied.complaint("list", code=78)


def test_a_time_that_does_not_exist(copied: Terminal) -> None:
    zone = next(
        line for line in (copied.folder / "backup.toml").read_text().splitlines() if line.startswith("timezone")
    )
    copied.edit(zone, 'timezone = "Europe/Berlin"')
    said = copied.run("restore", "docs", "--at", "2026-03-29 02:30", "--to", "back", code=2).stderr
    assert "02:30 does not exist in Europe/Berlin" in said


@pytest.mark.parametrize(
    ("arguments", "both"),
    [
        (("restore", "docs", "--snapshot", "2026", "--at", "now"), "--at and --snapshot"),
        (("restore", "docs", "--destination", "local", "--from", "backups"), "--from and --destination"),
        (("list", "--destination", "nothing", "--from", "backups"), "--from and --destination"),
    ],
)
def test_of_two_options_that_say_the_same_none_is_ignored(
    lived: Terminal, arguments: tuple[str, ...], both: str
) -> None:
    assert both in lived.run(*arguments, code=2).stderr


def test_unknown_names(lived: Terminal) -> None:
    assert "known: " in lived.complaint("show", "nothing", code=66)
    assert "known: " in lived.complaint("run", "weekly", code=66)
    assert "no snapshot `2001`" in lived.complaint("show", "docs", "2001", code=66)
    assert lived.run("nonsense", code=2).stderr


def test_errors_are_json_for_scripts(lived: Terminal) -> None:
    assert lived.json("show", "nothing", code=66)["error"]["kind"] == "NotFound"


@pytest.mark.parametrize("arguments", [("restore", "docs", "-o"), ("list", "--since"), ("options",)], ids=" ".join)
def test_what_was_pasted_controls_no_terminal(copied: Terminal, arguments: tuple[str, ...]) -> None:
    said = copied.run(*arguments, "x\x1b]0;owned\x07", code=2).stderr
    assert r"x\x1b]0;owned\x07" in said
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore", "docs", "--at", "the day before the fire"),
        ("restore", "docs", "--at", ""),
        ("restore", "docs", "--at", "2026-02-30", "--from", "backups", "--recovery-sheet", "sheet.txt"),
        ("list", "--since", "2026-13-01"),
        ("list", "--since", ""),
    ],
    ids=" ".join,
)
def test_what_is_no_time_was_not_understood(lived: Terminal, arguments: tuple[str, ...]) -> None:
    error = lived.json(*arguments, code=2)["error"]
    assert error["kind"] == "UsageError"
    assert "write `2026-11-23`, `2026-11-23 02:30`" in error["message"]

"""The command line as a person meets it: a whole life of a backup, and one clear line for what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.flows.trees import grow, state_of

ROOT = Path(__file__).parents[2]


class Terminal:
    """Runs `geometra-backup` in a folder of its own, with the embedded broker and nobody to ask."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self, *arguments: str | Path, code: int = 0, prefix: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "workers.cli.main", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def json(self, *arguments: str | Path, code: int = 0, prefix: Sequence[str] = ()) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code, prefix=prefix).stdout)

    def complaint(self, *arguments: str | Path, code: int, **environment: str) -> str:
        """The one line that a failure is."""
        said = self.run(*arguments, code=code, **environment).stderr.strip()
        assert said.startswith("geometra-backup: ")
        assert len(said.splitlines()) == 1, said
        return said

    def edit(self, old: str, new: str) -> None:
        file = self.folder / "backup.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """An installation made by `init`, after one night; the tests leave it as it is."""
    folder = tmp_path_factory.mktemp("home")
    for name, seed in (("config", 1), ("docs", 2)):
        (folder / name).mkdir()
        grow(folder / name, seed=seed)
    terminal = Terminal(folder)
    terminal.run("init", "--recovery-sheet", "sheet.txt")
    terminal.run("run")
    return terminal


@pytest.fixture
def copied(lived: Terminal, tmp_path: Path) -> Terminal:
    """The same installation, to be spoilt."""
    folder = tmp_path / "home"
    shutil.copytree(lived.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    return Terminal(folder)


def test_a_night_is_captured_proven_and_restored_byte_for_byte_without_any_cache(lived: Terminal) -> None:
    before = {name: state_of(lived.folder / name) for name in ("config", "docs")}
    place = lived.folder / "elsewhere"
    place.mkdir()
    try:
        shutil.copytree(lived.folder / "backups", place / "disk")
        for name, was in before.items():
            restored = lived.run(
                "restore", name, "--from", place / "disk", "--to", place / "back",
                GEOMETRA_BACKUP_PASSPHRASE=(lived.folder / "keys/passphrase").read_text().strip(),
                GEOMETRA_BACKUP_CONFIG=str(place / "none.toml"),
            )  # fmt: skip
            assert "Restored" in restored.stdout
            assert state_of(place / "back" / name) == was
        lived.run(
            "restore", "docs", "--from", place / "disk", "--to", place / "by-sheet", "--recovery-sheet", "sheet.txt"
        )
        assert state_of(place / "by-sheet" / "docs") == before["docs"]
    finally:
        shutil.rmtree(place)


def test_status_says_good_and_list_says_proven(lived: Terminal) -> None:
    status = lived.json("status")
    assert status["good"]
    assert {place["source"] for place in status["sources"]} == {"config", "docs"}
    assert all(row["proven"] and row["complete"] for row in lived.json("list"))
    assert "proven" in lived.run("list", "docs").stdout


def test_check_finds_everything_good(lived: Terminal) -> None:
    findings = lived.json("check")
    assert {finding["state"] for finding in findings} == {"good"}, findings


def test_metrics_are_printed_as_prometheus_reads_them(lived: Terminal, tmp_path: Path) -> None:
    command = ("-c", str(lived.folder / "backup.toml"), "metrics")
    told = Terminal(tmp_path).run(*command).stdout
    for source in ("config", "docs"):
        assert f'geometra_backup_last_run_success{{destination="local",source="{source}"}} 1.0\n' in told
        assert f'geometra_backup_snapshots{{destination="local",source="{source}"}} 1.0\n' in told
    assert "- alert: BackupLate" in Terminal(tmp_path).run(*command, "--alerts").stdout


def test_show_names_figures_and_proofs(lived: Terminal) -> None:
    shown = lived.json("show", "docs")
    assert shown["complete"]
    assert [proof["good"] for proof in shown["proofs"]] == [True]
    paths = {item["path"] for item in lived.json("show", "docs", "--items")}
    assert "docs/empty.toml" in paths
    assert "docs/no \\xff utf-8.toml" in paths


def test_find_says_where_a_path_is_and_fails_where_it_is_nowhere(lived: Terminal) -> None:
    found = lived.json("find", "empty.toml")
    assert {(row["source"], row["path"]) for row in found} == {
        ("config", "config/empty.toml"),
        ("docs", "docs/empty.toml"),
    }
    assert lived.json("find", "nowhere.toml", code=1) == []


def test_a_second_night_reads_only_what_changed_and_diff_names_it(copied: Terminal) -> None:
    first = copied.json("list", "docs")[-1]["snapshot"]
    (copied.folder / "docs" / "added.md").write_text("new")
    (copied.folder / "docs" / "empty.toml").unlink()
    report = copied.json("run", "--source", "docs")
    assert report["state"] == "done"
    assert {(row["change"], row["path"]) for row in copied.json("diff", "docs", first)} >= {
        ("+", "docs/added.md"),
        ("-", "docs/empty.toml"),
    }
    again = copied.json("run", "--source", "docs")
    assert again["steps"]["backup/docs"]["figures"]["read_bytes"] == 0


def test_only_the_chosen_paths_come_back(lived: Terminal, tmp_path: Path) -> None:
    lived.run("restore", "docs", "docs/team0", "--to", tmp_path / "some")
    assert {path.name for path in (tmp_path / "some/docs").iterdir()} == {"team0"}
    assert state_of(tmp_path / "some/docs/team0") == state_of(lived.folder / "docs/team0")


def test_a_restore_replaces_nothing_unless_told_to(lived: Terminal, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/empty.toml").write_text("mine")
    said = lived.complaint("restore", "docs", "--to", tmp_path, code=73)
    assert "docs/empty.toml" in said
    assert (tmp_path / "docs/empty.toml").read_text() == "mine"
    lived.run("restore", "docs", "--to", tmp_path, "--overwrite")
    assert state_of(tmp_path / "docs") == state_of(lived.folder / "docs")


def test_damage_is_named_and_the_next_night_heals_it(copied: Terminal) -> None:
    pack = max((copied.folder / "backups/docs/packs").rglob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    results = copied.json("verify", "docs", "--everything", code=65)
    assert pack.name in results[0]["failure"]["message"]
    assert copied.json("status", code=1)["good"] is False
    assert copied.json("run", "--source", "docs")["state"] == "done"
    copied.run("restore", "docs", "--to", "back")
    assert state_of(copied.folder / "back/docs") == state_of(copied.folder / "docs")


def test_a_snapshot_that_is_damaged_for_good_is_let_go_by_name(copied: Terminal) -> None:
    (old,) = (row["snapshot"] for row in copied.json("list", "docs"))
    assert "is proven" in copied.complaint("prune", "docs", "--forget", old, code=77)
    shutil.rmtree(copied.folder / "backups/docs/proofs")
    (copied.folder / "backups/docs/snapshots" / old).write_bytes(b"rotten")
    assert copied.json("run", "--source", "docs", code=1)["failures"][0]["step"] == "verify/docs/local"
    copied.run("restore", "docs", "--to", "back")
    copied.run("prune", "docs", code=65)
    copied.run("prune", "docs", "--forget", old)
    assert copied.json("run", "--source", "docs")["state"] == "done"


def test_completion_is_a_script_for_the_shell(lived: Terminal) -> None:
    assert "geometra-backup" in lived.run("completion", "zsh").stdout
    words = lived.run(
        _GEOMETRA_BACKUP_COMPLETE="bash_complete", COMP_WORDS="geometra-backup sta", COMP_CWORD="1"
    ).stdout
    assert "status" in words


def test_the_same_commands_are_under_celery(lived: Terminal) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "backup", "list", "--json"],
        cwd=lived.folder,
        env=os.environ | {"GEOMETRA_BACKUP_CONFIG": str(lived.folder / "backup.toml")},
        capture_output=True,
        text=True,
        check=False,
    )
    if "No such command 'backup'" in done.stderr:
        pytest.skip(
            "the project is not installed here, so Celery does not know its command; `python3 tests` installs it"
        )
    assert {row["source"] for row in json.loads(done.stdout)} == {"config", "docs"}, done.stderr


def test_init_replaces_nothing(lived: Terminal) -> None:
    assert "backup.toml" in lived.complaint("init", code=73)


# Bad input: each is one clear line, and no traceback.


def test_no_configuration_says_where_it_looked(tmp_path: Path) -> None:
    assert "init" in Terminal(tmp_path).complaint("list", code=78)


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
    assert copied.json("status", code=1)["good"] is False
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
    said = copied.complaint("restore", "docs", "--at", "2026-03-29 02:30", "--to", "back", code=66)
    assert "02:30" in said


def test_unknown_names(lived: Terminal) -> None:
    assert "known: " in lived.complaint("show", "nothing", code=66)
    assert "known: " in lived.complaint("run", "weekly", code=66)
    assert "no snapshot `2001`" in lived.complaint("show", "docs", "2001", code=66)
    assert lived.run("nonsense", code=2).stderr


def test_errors_are_json_for_scripts(lived: Terminal) -> None:
    assert lived.json("show", "nothing", code=66)["error"]["kind"] == "NotFound"

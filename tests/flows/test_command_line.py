"""The command line as a person meets it: a whole life of a backup."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from tests.flows.terminal import ROOT, Terminal
from tests.flows.trees import state_of
from workers import outdated


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
        (place / "disk/docs").rename(place / "disk/papers")
        told = lived.run(
            "restore", "papers", "--from", place / "disk", "--to", place / "moved", "--recovery-sheet", "sheet.txt"
        )
        assert "What lies below `papers` there are the backups of `docs`" in told.stderr
        assert state_of(place / "moved" / "docs") == before["docs"]
    finally:
        shutil.rmtree(place)


def test_status_says_good_and_list_says_proven(lived: Terminal) -> None:
    status = lived.json("status")
    assert status["good"]
    assert {place["source"] for place in status["sources"]} == {"config", "docs"}
    assert all(row["proven"] and row["complete"] for row in lived.json("list"))
    assert "proven" in lived.run("list", "docs").stdout


def test_what_is_only_information_is_in_the_dated_log_and_not_in_the_console_which_never_ends(lived: Terminal) -> None:
    logs = lived.folder / ".geometra-backup/logs"
    assert any('"run ended"' in file.read_text() for file in logs.glob("geometra-backup-*.log"))
    console = (logs / "console.log").read_text()
    assert "run ended" not in console
    assert "[info" not in console


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
    assert re.search(r"docs/empty.toml .* \d\d:\d\d:\d\d UTC ", lived.run("find", "empty.toml").stdout)


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
    said = lived.complaint("restore", "docs", "team0", "--to", tmp_path / "none", code=66)
    assert "paths begin with the name of a folder or file of the source" in said
    assert state_of(tmp_path / "some/docs/team0") == state_of(lived.folder / "docs/team0")


def test_a_restore_replaces_nothing_unless_told_to(lived: Terminal, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/empty.toml").write_text("mine")
    said = lived.complaint("restore", "docs", "--to", tmp_path, code=73)
    assert "docs/empty.toml" in said
    assert (tmp_path / "docs/empty.toml").read_text() == "mine"
    lived.run("restore", "docs", "--to", tmp_path, "--overwrite")
    assert state_of(tmp_path / "docs") == state_of(lived.folder / "docs")


def test_a_run_leaves_nothing_in_the_folder_for_temporary_files(copied: Terminal, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    copied.run("run", TMPDIR=str(tmp_path / "temporary"))
    assert list((tmp_path / "temporary").iterdir()) == []


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


def test_a_job_that_is_given_no_streams_does_its_work(copied: Terminal) -> None:
    before = len(copied.json("list", "docs"))
    copied.run("run", "--source", "docs", prefix=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    copied.run("run", "--source", "docs", prefix=["sh", "-c", 'exec "$@" >&-', "sh"])
    assert len(copied.json("list", "docs")) == before + 2


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("show", "docs", "--items"), ("--help",)])
def test_what_there_is_no_room_to_print_is_one_clear_line(lived: Terminal, arguments: tuple[str, ...]) -> None:
    done = lived.run(*arguments, code=74, prefix=["sh", "-c", 'exec "$@" >/dev/full', "sh"])
    assert len(done.stderr.splitlines()) == 1
    assert "no room to write `standard output`" in done.stderr


def test_any_name_is_shown_in_any_encoding(copied: Terminal) -> None:
    (copied.folder / "docs/漢字.md").write_text("of another script")
    copied.run("run", "--source", "docs")
    for encoding in ("ascii", "latin-1"):
        assert "docs/\\u6f22\\u5b57.md" in copied.run("show", "docs", "--items", PYTHONIOENCODING=encoding).stdout


def test_completion_is_a_script_for_the_shell(lived: Terminal) -> None:
    assert "geometra-backup" in lived.run("completion", "zsh").stdout
    words = lived.run(
        _GEOMETRA_BACKUP_COMPLETE="bash_complete", COMP_WORDS="geometra-backup sta", COMP_CWORD="1"
    ).stdout
    assert "status" in words


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("restore ", {"config", "docs"}),
        ("run --source do", {"docs"}),
        ("run ", {"nightly"}),
        ("list docs --destination ", {"local"}),
        ("policy l", {"local"}),
        ("verify docs --destination x", set()),
        ("init --destination doc", set()),
    ],
)
def test_names_are_completed(lived: Terminal, typed: str, offered: set[str]) -> None:
    assert completed(lived, typed) == offered


def test_snapshots_are_completed_newest_first_and_where_there_is_nothing_nothing_is_said(
    lived: Terminal, tmp_path: Path
) -> None:
    (snapshot,) = [row["snapshot"] for row in lived.json("list", "docs")]
    assert completed(lived, "show docs ") == {"latest", snapshot}
    assert completed(lived, f"restore docs --snapshot {snapshot[:6]}") == {snapshot}
    assert completed(lived, "show docs zzz") == set()
    # Without a configuration, or with a wrong one.
    (tmp_path / "wrong.toml").write_text("nonsense = 1")
    for configuration in ("none.toml", "wrong.toml"):
        assert completed(lived, f"-c {tmp_path / configuration} restore ") == set()


def completed(terminal: Terminal, typed: str) -> set[str]:
    """What bash is offered for the last word; files are bash's own to look for."""
    words = f"geometra-backup {typed}"
    count = len(words.split()) - (not typed.endswith(" "))
    done = terminal.run(_GEOMETRA_BACKUP_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
    assert done.stderr == ""
    offered = [line.partition(",") for line in done.stdout.splitlines()]
    return {name for kind, _, name in offered if kind == "plain"}


def under_celery(terminal: Terminal, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", *arguments],
        cwd=terminal.folder,
        env=os.environ | {"GEOMETRA_BACKUP_CONFIG": str(terminal.folder / "backup.toml")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if "No such command 'backup'" in done.stderr:
        pytest.skip(
            "the project is not installed here, so Celery does not know its command; `python3 tests` installs it"
        )
    return done


def test_the_same_commands_are_under_celery(lived: Terminal) -> None:
    done = under_celery(lived, "backup", "list", "--json")
    assert {row["source"] for row in json.loads(done.stdout)} == {"config", "docs"}, done.stderr
    assert "geometra-backup list" in under_celery(lived, "backup", "list", "--help").stdout


def test_they_end_there_as_they_do_by_themselves(copied: Terminal) -> None:
    done = under_celery(copied, "backup", "show", "dosc")
    assert (done.returncode, done.stderr) == (66, copied.complaint("show", "dosc", code=66) + "\n")
    (copied.folder / "backups").rename(copied.folder / "away")
    assert under_celery(copied, "backup", "status").returncode == 1


@pytest.mark.parametrize("program", ["worker", "beat", "flower"])
def test_a_mistake_in_backup_toml_is_one_line_of_whoever_can_not_begin(copied: Terminal, program: str) -> None:
    copied.edit("timezone", "timezon")
    done = under_celery(copied, program)
    assert done.returncode == 1
    assert done.stderr.startswith("geometra-backup: ")
    assert done.stderr.endswith("timezon: unknown key; did you mean `timezone`?\n")
    assert done.stderr.count("\n") == 1


def test_init_replaces_nothing(lived: Terminal) -> None:
    assert "backup.toml" in lived.complaint("init", code=73)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGQUIT, 131), (signal.SIGHUP, 129)])
def test_what_is_served_ends_with_it_however_it_is_told_to(copied: Terminal, number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "workers.cli.main", "serve"],
        cwd=copied.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stderr
        assert serving.stderr.readline().startswith("Serving ")
        serving.send_signal(number)
        assert serving.wait(60) == code
    assert not [path for path in Path("/proc").glob("[0-9]*") if is_below(path / "cwd", copied.folder)]


def is_below(link: Path, folder: Path) -> bool:
    with suppress(OSError):
        return link.readlink().is_relative_to(folder)
    return False


def test_who_goes_by_another_configuration_than_there_is_now_is_named(
    copied: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[IO[str]] = []
    monkeypatch.setattr(outdated, "_held", held)
    monkeypatch.setenv("GEOMETRA_BACKUP_CONFIG", str(copied.folder / "backup.toml"))
    outdated.note("files@here")
    copied.edit("[sources.docs]", "# Edited.\n[sources.docs]")
    (found,) = [f for f in copied.json("check") if f["what"] == "processes"]
    assert found["state"] == "weak"
    assert found["says"].startswith("files@here began before backup.toml was changed")
    said = copied.run("status").stderr
    held[0].close()
    assert "files@here began before backup.toml was changed" in said
    assert "restart `serve`" in said

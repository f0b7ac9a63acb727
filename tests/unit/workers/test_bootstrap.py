"""The environment of our own, made for a tiny project that needs no network: its build backend lies beside it."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from workers import bootstrap

ROOT = Path(__file__).parents[3]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1"
"""

BACKEND = '''
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("tiny.py", """
import sys, time
def main():
    print(sys.prefix, *sys.argv[1:], flush=True)
    if "wait" in sys.argv:
        sys.stdin.read()
    return 3
""")
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n")
        wheel.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.dist-info/entry_points.txt", "[console_scripts]\\ntiny = tiny:main\\n")
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return name
'''


class Clone:
    """A project's folder as bootstrap.py finds it, and ways to start a program of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = root / ".venv"
        (root / "workers").mkdir(parents=True)
        shutil.copy(ROOT / "workers" / "bootstrap.py", root / "workers")
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "backend.py").write_text(BACKEND)
        for lock in ("requirements.lock", "requirements-test.lock"):
            (root / lock).write_text("# nothing to fetch\n")

    def start(self, *arguments: str, lock: str = "requirements.lock", **variables: str) -> subprocess.Popen[str]:
        bootstrap = self.root / "workers" / "bootstrap.py"
        kept = {name: value for name, value in os.environ.items() if name != "GEOMETRA_BACKUP_VENV"}
        return subprocess.Popen(
            [sys.executable, "-I", bootstrap, lock, "tiny", *arguments],
            cwd=self.root,
            env=kept | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, lock: str = "requirements.lock", **variables: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*arguments, lock=lock, **variables)
        out, err = process.communicate()
        return process.returncode, out, err


class Prepared(NamedTuple):
    clone: Clone
    first: list[tuple[int, str, str]]
    """What came of the two first starts, made at once."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    clone = Clone(tmp_path_factory.mktemp("prepared") / "a clone")
    started = [clone.start(name) for name in ("one", "two")]
    said = [process.communicate() for process in started]
    return Prepared(clone, [(process.returncode, *words) for process, words in zip(started, said, strict=True)])


@pytest.fixture
def prepared(both: Prepared) -> Clone:
    return both.clone


def test_two_first_starts_at_once_prepare_once_and_both_run(both: Prepared) -> None:
    assert [code for code, _, _ in both.first] == [3, 3], both.first
    assert [out for _, out, _ in both.first] == [f"{both.clone.environment} {name}\n" for name in ("one", "two")]
    assert sorted(err.partition(" ")[0] for _, _, err in both.first) in (["Preparing", "Waiting"], ["", "Preparing"])


def test_what_another_first_start_puts_there_right_now_is_nothing_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterdir = Path.iterdir

    def filled(folder: Path) -> Iterator[Path]:
        (folder / bootstrap._PREPARING).touch()
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", filled)
    bootstrap.Environment(tmp_path, tmp_path / "environment")._claim()


def test_a_prepared_environment_is_used_as_it_is(prepared: Clone) -> None:
    assert prepared.run("a b", "--c") == (3, f"{prepared.environment} a b --c\n", "")


def test_what_the_tests_need_is_added_once_and_serves_both(prepared: Clone) -> None:
    kept = prepared.environment / "kept"
    kept.touch()
    assert prepared.run(lock="requirements-test.lock")[2].startswith("Preparing")
    assert kept.exists()
    assert prepared.run(lock="requirements-test.lock")[2] == ""
    assert prepared.run()[2] == ""


def test_an_environment_in_use_is_never_pulled_away(prepared: Clone) -> None:
    running = prepared.start("wait")
    assert running.stdout
    assert running.stdout.readline()
    lock = prepared.root / "requirements.lock"
    before = lock.read_text()
    lock.write_text("# another\n")
    try:
        code, _, err = prepared.run()
        assert code == 1
        assert "a program still runs in it" in err
        assert (prepared.environment / "bin" / "tiny").exists()
    finally:
        lock.write_text(before)
        running.communicate()
    assert prepared.run("again")[0] == 3


def test_the_environment_of_another_clone_is_left_as_it_is(prepared: Clone, tmp_path: Path) -> None:
    """Reached by a link: programs of it may run that hold no lock of ours, as `.venv/bin/celery` does."""
    other = Clone(tmp_path / "other")
    other.environment.symlink_to(prepared.environment)
    code, _, err = other.run()
    assert code == 1
    assert err.count("\n") == 1
    assert f"the environment of the clone `{prepared.root}`" in err
    assert "GEOMETRA_BACKUP_VENV" in err
    assert prepared.run("still") == (3, f"{prepared.environment} still\n", "")


def test_the_environment_of_a_clone_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    assert clone.run()[0] == 3
    moved = clone.root.rename(tmp_path / "moved")
    clone.root, clone.environment = moved, moved / ".venv"
    assert clone.run("now")[:2] == (3, f"{clone.environment} now\n")


def test_an_environment_may_be_a_link_to_a_larger_disk(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    larger = tmp_path / "larger"
    clone.environment.symlink_to(larger)
    code, out, err = clone.run("now")
    assert (code, out) == (3, f"{larger} now\n"), err
    assert clone.run("again") == (3, f"{larger} again\n", "")


def test_a_preparation_killed_half_way_is_started_afresh(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    killed = clone.start()
    while not (clone.environment / "pyvenv.cfg").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    (clone.environment / "torn").mkdir()
    killed.communicate()
    code, out, err = clone.run("now")
    assert (code, out) == (3, f"{clone.environment} now\n"), err
    assert not (clone.environment / "torn").exists()


def test_a_folder_that_something_else_filled_is_left_alone(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    precious = tmp_path / "home" / "precious"
    precious.parent.mkdir()
    precious.write_text("mine")
    code, _, err = clone.run(GEOMETRA_BACKUP_VENV=str(precious.parent))
    assert code == 1
    assert err.count("\n") == 1
    assert "did not put there" in err
    assert list(precious.parent.iterdir()) == [precious]


def test_an_index_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    (clone.root / "requirements.lock").write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    with socket.socket() as unanswered:
        unanswered.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port
        index = f"http://127.0.0.1:{unanswered.getsockname()[1]}/simple"
        code, out, err = clone.run(
            PIP_CONFIG_FILE=os.devnull,
            PIP_FIND_LINKS="",
            PIP_INDEX_URL=index,
            PIP_NO_CACHE_DIR="1",
            PIP_RETRIES="1",
        )
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "Preparing .venv (once, about a minute) ... failed."
    assert "can't be fetched" in err.splitlines()[1]
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("folder", ["workers", "tests"])
def test_an_older_python_can_read_the_line_that_refuses_it(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / folder / "__main__.py"
    ast.parse(path.read_text(), feature_version=(3, 4))
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("went on with an older Python"))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        runpy.run_path(str(path))

"""A folder that the operator's own Chroma opens for a restore."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import Occupied, Refused, UnsafePath
from tasks.scratch import collect
from tasks.sources.chroma.served_folder import served
from tasks.sources.chroma.server import Server
from tasks.sources.chroma.stored_folder import DATABASE


def test_a_folder_is_served_and_nothing_is_left_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = tmp_path / "temporary"
    monkeypatch.chdir(tmp_path)
    with served(Path("store"), beside) as access, Server(access) as server:
        assert server.version()
    assert (tmp_path / "store" / DATABASE).exists()
    assert not list(beside.iterdir())


def test_a_folder_that_chroma_does_not_open_is_told_at_once_and_in_its_words(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database" * 1000)
    with (
        pytest.raises(Refused, match=r"chroma run --path .* does not start: .*file is not a database"),
        served(tmp_path, tmp_path / "temporary"),
    ):
        pass


def test_what_one_that_is_killed_leaves_is_collected(tmp_path: Path) -> None:
    store, beside = tmp_path / "store", tmp_path / "temporary"
    killed = (
        "import os; from pathlib import Path; from tasks.sources.chroma.served_folder import served\n"
        f"with served(Path({str(store)!r}), Path({str(beside)!r})): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert list(beside.iterdir())
    collect(beside)
    assert not list(beside.iterdir())


def test_two_restores_do_not_open_one_folder_at_once(tmp_path: Path) -> None:
    """The second one begins before the Chroma of the first has made anything there."""
    store, beside = tmp_path / "store", tmp_path / "temporary"

    def open_it() -> str:
        try:
            with served(store, beside):
                return ""
        except Occupied as error:
            return str(error)

    with ThreadPoolExecutor(2) as both:
        said = [each.result() for each in [both.submit(open_it), both.submit(open_it)]]
    assert sorted(said) == ["", f"another restore is writing to `{store}`: let it end first"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Occupied, match="is to be a folder"), served(tmp_path / "file", tmp_path):
        pass
    with pytest.raises(UnsafePath, match="where a folder must be"), served(tmp_path / "file" / "below", tmp_path):
        pass

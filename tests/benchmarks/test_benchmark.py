"""Whether the benchmark itself can be trusted: what it counts, what it compares, what it refuses to call good."""

from __future__ import annotations

import mmap
import os
import resource
import sys
from pathlib import Path
from subprocess import PIPE, Popen
from types import ModuleType

import pytest

from tests.benchmarks import bars, machine
from tests.benchmarks.competitors import Borg, Competitor, OldDesign, Restic, TarZstandard
from tests.benchmarks.corpora import logs, models, page_database, source_tree, tiny_files
from tests.benchmarks.corpora.corpus import CORPORA
from tests.benchmarks.measure import CommandFailed, Cost, run
from tests.benchmarks.ours import Command, Engine
from tests.benchmarks.rounds import Result, Rounds
from tests.benchmarks.table import PROVEN, Cell, markdown, medians
from tests.benchmarks.tree import differences, look

BURN = "import time\nwhile time.process_time() < 0.4: pass"


def measured(folder: Path, *command: str) -> Cost:
    return run(command, cwd=folder, environment=dict(os.environ), log=folder / "log")


@pytest.mark.parametrize("module", [logs, models, page_database, source_tree, tiny_files])
def test_a_corpus_and_its_change_are_the_same_for_the_same_seed(module: ModuleType, tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (folder := tmp_path / name).mkdir()
        module.make(folder, 0.001, seed)
        before = {path: node.content for path, node in look(folder).items()}
        module.change(folder, 0.001, seed)
        contents.append((before, {path: node.content for path, node in look(folder).items()}))
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert contents[0][0] != contents[0][1]


def test_the_seconds_of_a_child_that_outlives_its_parent_are_counted(tmp_path: Path) -> None:
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN!r}])"
    cost = measured(tmp_path, sys.executable, "-c", script)
    assert 0.4 <= cost.cpu < 2


def test_what_a_command_leaves_running_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    cost = measured(tmp_path, "sh", "-c", "echo $$; sleep 1000 & echo $!")
    assert cost.wall < 2
    for pid in (tmp_path / "log").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_child_from_before_is_neither_counted_nor_ended(tmp_path: Path) -> None:
    script = "held = b'x' * 100_000_000\nprint(flush=True)\ninput()\n" + BURN
    with Popen([sys.executable, "-c", script], stdin=PIPE, stdout=PIPE) as before:
        assert before.stdin
        assert before.stdout
        assert before.stdout.readline()
        before.stdin.write(b"\n")
        before.stdin.flush()
        cost = measured(tmp_path, "sh", "-c", "sleep 1.5")
        assert (cost.cpu < 0.3, cost.peak < 50e6, before.wait(10)) == (True, True, 0)


def test_the_memory_of_a_grandchild_is_seen(tmp_path: Path) -> None:
    inner = "import time; kept = b'x' * 150_000_000; time.sleep(0.3)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    assert 150e6 < measured(tmp_path, sys.executable, "-c", script).peak < 250e6


def test_memory_is_taken_page_by_page_and_given_back_and_never_more_than_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    def touched(size: int) -> tuple[int, int]:
        before, faults = held(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        machine.fetch_memory(size)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, held() - before

    small, _ = touched(1)
    large, kept = touched(512 << 20)
    assert small < 1000
    assert large >= (512 << 20) // mmap.PAGESIZE
    assert kept < 64 << 20
    monkeypatch.setattr(machine, "_LEFT_FREE", 1 << 60)
    assert touched(512 << 20)[0] < 1000


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"ended with 3(.|\n)*no such luck"):
        measured(tmp_path, "sh", "-c", "echo no such luck; exit 3")


def test_a_byte_a_mode_and_a_time_that_differ_are_all_named(tmp_path: Path) -> None:
    for side in ("saved", "restored"):
        (tmp_path / side / "folder").mkdir(parents=True)
        for name in ("byte", "mode", "time", "gone", "same"):
            (tmp_path / side / "folder" / name).write_text("content")
            os.utime(tmp_path / side / "folder" / name, ns=(7, 7))
    restored = tmp_path / "restored" / "folder"
    (restored / "byte").write_text("Content")
    os.utime(restored / "byte", ns=(7, 7))
    (restored / "mode").chmod(0o600)
    os.utime(restored / "time", ns=(7, 8))
    (restored / "gone").unlink()
    for side in ("saved", "restored"):
        os.utime(tmp_path / side / "folder", ns=(7, 7))
    assert differences(look(tmp_path / "saved"), look(tmp_path / "restored")) == [
        "missing: folder/gone",
        "different content: folder/byte",
        "different mode: folder/mode",
        "different mtime_ns: folder/time",
    ]


class Lying(TarZstandard):
    """Restores everything but one bit."""

    name = "lying"

    def restore(self, into: Path) -> Cost:
        cost = super().restore(into)
        victim = max(into.rglob("*"), key=lambda path: path.stat().st_size)
        before = victim.stat()
        with open(victim, "r+b") as file:
            byte = file.read(1)[0]
            file.seek(0)
            file.write(bytes([byte ^ 1]))
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
        return cost


@pytest.mark.needs("tar", "zstd")
def test_a_restore_that_is_wrong_by_one_bit_is_no_result_and_fails_the_run(tmp_path: Path) -> None:
    corpus = CORPORA["logs"]
    (working := tmp_path / "working").mkdir()
    rounds = Rounds(programs=[Lying, TarZstandard], working=working, scale=0.001, seed=1, say=lambda _: None)
    results = rounds.run(corpus, corpus.base(tmp_path, 0.001, 1), 1)
    assert [wrong.partition(":")[0] for wrong in rounds.wrong] == ["lying, logs, restore"]
    assert {result.step for result in results if result.program == "lying"} == {"first", "changed", "unchanged"}
    assert [result.step for result in results if result.program == "tar+zstd"][-2:] == ["restore", "read all"]
    assert not list(working.iterdir())


@pytest.mark.parametrize("program", [Command, Engine, Restic, Borg, OldDesign, TarZstandard])
def test_every_competitor_restores_bit_exactly_what_it_saved(program: type[Competitor], tmp_path: Path) -> None:
    if why := program.missing():
        pytest.skip(why)
    corpus = CORPORA["source-tree"]
    (working := tmp_path / "working").mkdir()
    rounds = Rounds(programs=[program], working=working, scale=0.005, seed=1, say=lambda _: None)
    results = rounds.run(corpus, corpus.base(tmp_path, 0.005, 1), 1)
    assert not rounds.wrong
    assert [result.step for result in results] == ["first", "changed", "unchanged", "restore", "read all"]
    assert results[0].added > 100_000
    assert "source tree" in markdown(medians(results), {}, [])


def cell(cpu: float, added: float) -> Cell:
    return Cell(wall=cpu, cpu=cpu, peak=150e6, stored=added, added=added, rounds=1)


def test_what_it_takes_to_save_and_to_prove_is_one_step_for_who_does_both_at_once() -> None:
    results = [
        Result("logs", step, program, Cost(wall=wall, cpu=wall, peak=1), 10, added)
        for program in ("ours", "restic")
        for step, wall, added in (("first", 2.0, 10), ("read all", 3.0, 0))
    ]
    cells = medians(results, proving=["ours"])
    assert cells["logs", PROVEN, "ours"].cpu == 2.0
    assert cells["logs", PROVEN, "restic"].cpu == 5.0
    assert cells["logs", PROVEN, "ours"].against(cells["logs", PROVEN, "restic"], PROVEN) == {
        "wall": 0.4,
        "cpu": 0.4,
        "bytes": 1.0,
    }


def test_a_bar_is_judged_on_every_row_it_speaks_of() -> None:
    cells = {
        ("logs", "first", "ours"): cell(1, 50),
        ("logs", "first", "restic"): cell(2, 100),
        ("models", "first", "ours"): cell(3, 50),
        ("models", "first", "restic"): cell(2, 100),
    }
    judged = bars.judge(bars.read("* first cpu,bytes restic 1.0; * first peak MB 200"), cells, "ours")
    assert [(one.bar.corpus, one.bar.figure, one.reached) for one in judged] == [
        ("logs", "cpu", True),
        ("models", "cpu", False),
        ("logs", "bytes", True),
        ("models", "bytes", True),
        ("logs", "peak", True),
        ("models", "peak", True),
    ]
    assert bars.report(judged).splitlines()[2].startswith("| models | first | cpu | restic | 1 | 1.50 | **missed**")


def test_a_bar_that_nothing_was_measured_for_counts_as_missed() -> None:
    judged = bars.judge(bars.read("logs first cpu Borg 1.0"), {("logs", "first", "ours"): cell(1, 50)}, "ours")
    assert [one.reached for one in judged] == [False]


@pytest.mark.parametrize("name", bars.named())
def test_the_kept_bars_can_be_read_and_name_what_exists(name: str) -> None:
    kept = bars.read(name)
    assert kept
    assert {bar.corpus for bar in kept} <= {*CORPORA, "*"}


@pytest.mark.parametrize("line", ["logs first cpu restic", "logs second cpu restic 1", "logs first cpu restic few"])
def test_a_bar_that_makes_no_sense_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"bar|step|float"):
        bars.read(line)

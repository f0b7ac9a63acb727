"""`python -m tests.benchmarks`: this product, restic, Borg and the old design, in one run, on the same inputs.

Exit code 0, whatever the times; 1 if a program failed or a restore is not bit-exact; 3 if asserted bars were missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import bars
from tests.benchmarks.competitors import Borg, Competitor, OldDesign, Restic, TarZstandard
from tests.benchmarks.corpora.corpus import CORPORA
from tests.benchmarks.machine import facts
from tests.benchmarks.ours import Command, Engine
from tests.benchmarks.rounds import Result, Rounds
from tests.benchmarks.table import Cells, document, markdown, medians

OURS: list[type[Competitor]] = [Command, Engine]
PEERS: list[type[Competitor]] = [Restic, Borg, OldDesign, TarZstandard]
PROGRAMS = {program.name: program for program in (*OURS, *PEERS)}
_TMPFS = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


def main() -> int:
    asked = _arguments()
    for ending in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs start with it ignored
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    programs = [PROGRAMS[name] for name in asked.program]
    for program in list(programs):
        if why := program.missing():
            _say(f"{program.name} does not take part: {why}")
            programs.remove(program)
    machine = facts() | {
        "versions": ", ".join(dict.fromkeys(program.version() for program in programs)),
        "repositories on": "disk" if asked.disk else "tmpfs",
        "scale": f"{asked.scale:g}",
        "seed": asked.seed,
        "rounds": asked.repeat,
    }
    results: list[Result] = []
    proving = [program.name for program in programs if program.proves]
    with ExitStack() as stack:
        scratch = asked.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        scratch.mkdir(parents=True, exist_ok=True)
        fast = scratch if asked.disk else _TMPFS
        working = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-", dir=fast)))
        rounds = Rounds(programs=programs, working=working, scale=asked.scale, seed=asked.seed, say=_say)
        for name in asked.corpus:
            base = CORPORA[name].base(scratch, asked.scale, asked.seed)
            results += rounds.run(CORPORA[name], base, asked.repeat)
            _write(asked.output, medians(results, proving), machine)
    print((asked.output / "benchmark.md").read_text())
    missed = False
    if asked.assert_bars is not None:
        judged = bars.judge(asked.assert_bars, medians(results, proving), asked.judge)
        missed = not judged or not all(one.reached for one in judged)
        print(bars.report(judged))
    for wrong in rounds.wrong:
        _say(f"WRONG: {wrong}")
    return 1 if rounds.wrong else 3 if missed else 0


def _write(folder: Path, cells: Cells, machine: dict[str, object]) -> None:
    """After every corpus, so that a run that is stopped has not been for nothing."""
    ours = [program.name for program in OURS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.md").write_text(markdown(cells, machine, ours))
    (folder / "benchmark.json").write_text(json.dumps(document(cells, machine, ours), indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").partition("\n")[0])
    usual = [name for name in CORPORA if name != "tiny-files"]
    parser.add_argument("--corpus", nargs="+", choices=list(CORPORA), default=usual, help="default: all but tiny-files")
    parser.add_argument("--tiny", action="store_true", help="also the corpus of 200,000 tiny files")
    parser.add_argument("--program", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS), help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the corpora's sizes; 0.02 is a quick look")
    parser.add_argument("--repeat", type=int, default=3, help="rounds, each with new repositories; medians are shown")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is made up")
    parser.add_argument("--scratch", type=Path, help="keeps the corpora between runs; default: a temporary folder")
    parser.add_argument("--disk", action="store_true", help="work in the scratch folder, not on tmpfs")
    parser.add_argument("--output", type=Path, default=Path("benchmark"), help="folder for benchmark.md and .json")
    parser.add_argument(
        "--assert-bars",
        type=bars.read,
        metavar="BARS",
        help=f"a file, `corpus step figures against limit; ...`, or one of: {', '.join(bars.named())}",
    )
    parser.add_argument("--judge", choices=list(PROGRAMS), default=next(iter(PROGRAMS)), help="whom the bars are for")
    asked = parser.parse_args()
    if asked.tiny and "tiny-files" not in asked.corpus:
        asked.corpus = [*asked.corpus, "tiny-files"]
    return asked


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

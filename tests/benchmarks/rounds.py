"""One corpus through all steps, all programs in turn at each step, as often as asked; every restore compared."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.competitors import Competitor
from tests.benchmarks.corpora.corpus import Corpus
from tests.benchmarks.machine import fetch_memory
from tests.benchmarks.measure import CommandFailed, Cost
from tests.benchmarks.tree import Tree, differences, look

STEPS = ("first", "changed", "unchanged", "restore", "read all")
_WRITING = ("first", "changed", "restore")
_OF_PROGRAMS = 1 << 30
"""Bytes of memory that a program may need beside what it writes."""


class Result(NamedTuple):
    """One program at one step in one round; `stored` is its repository's size after it, `added` what the step added."""

    corpus: str
    step: str
    program: str
    cost: Cost
    stored: int
    added: int


class NotBitExact(Exception):
    """A restore differs from what was saved."""


@dataclass(kw_only=True)
class Rounds:
    """`working` holds the live copy, the repositories and the restores, and is empty again at the end. `wrong` collects
    what must make the benchmark fail: restores that differ and programs that did not succeed."""

    programs: Sequence[type[Competitor]]
    working: Path
    scale: float
    seed: int
    say: Callable[[str], None]
    wrong: list[str] = field(default_factory=list)

    def run(self, corpus: Corpus, base: Path, repeat: int) -> list[Result]:
        results: list[Result] = []
        for number in range(repeat):
            try:
                results += self._round(corpus, base, number)
            finally:
                for path in self.working.iterdir():
                    shutil.rmtree(path)
        return results

    def _round(self, corpus: Corpus, base: Path, number: int) -> list[Result]:
        live = self.working / "live"
        size = sum(path.stat().st_size for path in base.rglob("*"))
        subprocess.run(["cp", "-a", base, live], check=True)
        running = [
            program(self.working / f"program{at}", live, corpus.kind)
            for at, program in enumerate(self.programs)
            if number < program.rounds
        ]
        for program in running:
            program.create()
        results: list[Result] = []
        saved: Tree = {}
        for at, step in enumerate(STEPS):
            if step == "changed":
                corpus.change(live, self.scale, self.seed)
            elif step == "restore":
                saved = look(live)
            os.sync()
            turn = (at + number) % max(1, len(running))
            for program in [*running[turn:], *running[:turn]]:
                before = program.stored()
                fetch_memory(_OF_PROGRAMS + size * (step in _WRITING))
                try:
                    cost = self._step(program, step, saved)
                except (CommandFailed, NotBitExact) as error:
                    self.wrong.append(f"{program.name}, {corpus.name}, {step}: {error}")
                    self.say(f"WRONG: {self.wrong[-1]}")
                    running.remove(program)
                    continue
                stored = program.stored()
                results.append(Result(corpus.name, step, program.name, cost, stored, stored - before))
                self.say(
                    f"{corpus.name:14} {step:10} round {number + 1}  {program.name:16}"
                    f" {cost.wall:8.2f} s {cost.cpu:8.2f} s CPU {(stored - before) / 1e6:9.2f} MB"
                )
        return results

    def _step(self, program: Competitor, step: str, saved: Tree) -> Cost:
        if step == "read all":
            return program.read_all()
        if step != "restore":
            return program.save()
        into = self.working / "restored"
        into.mkdir()
        cost = program.restore(into)
        differing = differences(saved, look(program.restored(into)), program.whole_times)
        shutil.rmtree(into)
        if differing:
            raise NotBitExact("the restore is not what was saved:\n  " + "\n  ".join(differing))
        return cost

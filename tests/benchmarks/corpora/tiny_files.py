"""200,000 tiny JSON files in 2,000 folders; then 1 % of them change."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.benchmarks.corpora.words import Prose

_PER_FOLDER = 100


def make(folder: Path, scale: float, seed: int) -> None:
    chance, prose = random.Random(f"tiny {seed}"), Prose(seed)
    for number in range(int(200_000 * scale)):
        path = _path(folder, number)
        if number % _PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_text(_record(number, chance, prose))


def change(folder: Path, scale: float, seed: int) -> None:
    count = int(200_000 * scale)
    chance, prose = random.Random(f"tiny again {seed}"), Prose(seed + 1)
    for number in chance.sample(range(count), count // 100):
        _path(folder, number).write_text(_record(number, chance, prose))


def _path(folder: Path, number: int) -> Path:
    group = number // _PER_FOLDER
    return folder / f"{group // 50:03d}" / f"{group:05d}" / f"{number:07d}.json"


def _record(number: int, chance: random.Random, prose: Prose) -> str:
    record = {
        "id": number,
        "label": prose.words(1)[0],
        "score": round(chance.random(), 4),
        "text": " ".join(prose.words(9)),
    }
    return json.dumps(record) + "\n"

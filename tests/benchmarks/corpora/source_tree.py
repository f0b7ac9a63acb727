"""20,000 small files of source code: Python's own library, shuffled, its names changed; then 1 % are edited."""

from __future__ import annotations

import keyword
import random
import re
import sysconfig
from bisect import bisect
from itertools import accumulate
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_]{4,}")
_KEPT = frozenset(keyword.kwlist) | {"self", "None", "True", "False", "print", "range", "isinstance", "assertEqual"}
_MEDIAN, _SPREAD = 3600, 1.47  # of the lognormal sizes of the files, in bytes: a mean of about 11 KB


def make(folder: Path, scale: float, seed: int) -> None:
    chance, pool = random.Random(f"source {seed}"), _Pool()
    number, count = 0, int(20_000 * scale)
    while number < count:
        package = folder / f"team{number % 7}" / f"service_{number:05d}"
        for part in ("", "core", "api", "tests"):
            (package / part).mkdir(parents=True, exist_ok=True)
        renamed = pool.renames(chance)
        for _ in range(min(chance.randint(20, 80), count - number)):
            name = f"{chance.choice(pool.names).lower()}_{number}.py"
            size = min(300_000, int(chance.lognormvariate(0, _SPREAD) * _MEDIAN))
            (package / chance.choice(("", "core", "api", "tests")) / name).write_text(pool.text(size, renamed, chance))
            number += 1


def change(folder: Path, scale: float, seed: int) -> None:
    """Of one file in a hundred: most are edited in the middle, some appended to, touched, added or removed."""
    chance, pool = random.Random(f"source again {seed}"), _Pool()
    files = sorted(folder.rglob("*.py"))
    renamed = pool.renames(chance)
    for path in chance.sample(files, max(5, len(files) // 100)):
        kind = chance.random()
        if kind < 0.6:
            lines = path.read_text().splitlines(keepends=True)
            at = chance.randrange(len(lines) + 1)
            path.write_text("".join([*lines[:at], pool.text(400, renamed, chance), *lines[at + 2 :]]))
        elif kind < 0.75:
            with open(path, "a") as file:
                file.write(pool.text(700, renamed, chance))
        elif kind < 0.85:
            path.touch()
        elif kind < 0.95:
            path.with_name(f"new_{path.name}").write_text(pool.text(4000, renamed, chance))
        else:
            path.unlink()


class _Pool:
    """Top-level functions and classes of the standard library, and the names they use."""

    def __init__(self) -> None:
        library = Path(sysconfig.get_paths()["stdlib"])
        self._pieces: list[str] = []
        names: dict[str, None] = {}
        for path in sorted(library.rglob("*.py")):
            if "site-packages" in path.parts or "dist-packages" in path.parts or path.stat().st_size > 200_000:
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            pieces = re.split(r"(?m)^(?=(?:def|class|async def|@)\s?\w)", text)
            self._pieces += [piece for piece in pieces if 60 < len(piece) < 12_000]
            names.update(dict.fromkeys(_NAME.findall(text[:4000])))
        self.names = [name for name in names if len(name) < 24 and name not in _KEPT]
        self._lengths = list(accumulate(len(piece) for piece in self._pieces))

    def renames(self, chance: random.Random) -> dict[str, str]:
        """What one package calls things: about a quarter of the names stand for others. Filled as names turn up."""
        return _Renames(self.names, chance.getrandbits(64))

    def text(self, size: int, renamed: dict[str, str], chance: random.Random) -> str:
        """About `size` characters of neighbouring functions and classes, as one module holds them, cut to a line."""
        parts: list[str] = []
        length, at = 0, bisect(self._lengths, chance.randrange(self._lengths[-1]))
        while length < size:
            parts.append(_NAME.sub(lambda match: renamed[match[0]], self._pieces[at % len(self._pieces)]))
            length += len(parts[-1])
            at += 1
        return "".join(parts)[:size].rpartition("\n")[0] + "\n"


class _Renames(dict[str, str]):
    def __init__(self, names: list[str], seed: int) -> None:
        super().__init__((name, name) for name in _KEPT)
        self._names, self._chance = names, random.Random(seed)

    def __missing__(self, name: str) -> str:
        other = self._chance.choice(self._names) if self._chance.random() < 0.28 else name
        if other is not name and self._chance.random() < 0.5:
            other = f"{other}_{self._chance.choice(self._names)}"
        self[name] = other
        return other

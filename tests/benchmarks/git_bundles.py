"""`python -m tests.benchmarks.git_bundles`: what ten nights of one repository's history cost, by the way it is bundled.

The history grows every night, is repacked before the seventh, and packed anew before the ninth. Each way is stored in a
repository of its own by the real engine.
"""

from __future__ import annotations

import argparse
import random
import resource
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tasks.item import FILE, Entry, Facts, Flaw, Item, Reading, Stored, Stream
from tasks.sources.git.bundle import BundleHead, BundleStream
from tasks.sources.git.command import Git, Output
from tasks.sources.git.repository import find
from tasks.sources.git.view import Manner, look
from tasks.sources.patterns import Patterns
from tests.git_sample import git, init
from tests.repositories import about, create, local

NIGHTS, REPACK, PACK_ANEW = 10, 6, 8
Way = Callable[[Path], Stream]


class Night(NamedTuple):
    bundle: float
    stored: float
    cpu: float


def ours(folder: Path) -> Stream:
    view = look(find(folder), Manner(uncommitted=False, lfs=False, exclude=Patterns(())))
    head = BundleHead(view.named.object_format, view.named.named)
    return BundleStream(view.reflection, _ENTRY, head, view.named.tips)


def _bundle(*settings: str) -> Way:
    return partial(_by_git, ("bundle", "create", "--quiet", "-", "--all"), settings)


def _pack(*options: str) -> Way:
    return partial(_by_git, ("pack-objects", "--revs", "--stdout", "-q", "--threads=1", *options), ())


def _by_git(command: tuple[str, ...], settings: tuple[str, ...], folder: Path) -> Stream:
    with tempfile.TemporaryFile() as given:
        given.write(git(folder, "for-each-ref", "--format=%(objectname)"))
        given.seek(0)
        return _Printed(Git(bytes(folder / ".git"), settings=settings).start(*command, given=given))


_FLAT = ("--no-reuse-object", "--window=0", "--compression=0")
WAYS: dict[str, Way] = {
    "ours: whole objects, by path": ours,
    "git bundle create": _bundle(),
    "git bundle create, no compression": _bundle("pack.threads=1", "pack.compression=0"),
    "differences by name, no compression": _pack("--compression=0"),
    "  and none for new objects": _pack("--compression=0", "--window=0"),
    "differences anew, no compression": _pack("--compression=0", "--no-reuse-object"),
    "whole objects, in git's order": _pack(*_FLAT),
}
_ENTRY = Entry(b"repository.bundle", FILE, size=-1)


class _Printed:
    """A `Stream` of what a git prints."""

    def __init__(self, output: Output) -> None:
        self._output, self._size = output, 0

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._output.readinto(buffer)
        self._size += count
        return count

    def close(self) -> Reading:
        self._output.stop_all()
        return Reading(_ENTRY._replace(size=self._size))


class _OneItem:
    """A capture of one bundle."""

    def __init__(self, way: Way, folder: Path) -> None:
        self._item = Item(_ENTRY, partial(way, folder), "c64")

    def __iter__(self) -> Iterator[Item]:
        yield self._item

    def stored(self, item: Stored) -> None: ...

    def flaws(self) -> list[Flaw]:
        return []

    def facts(self) -> Facts:
        return {}


def history(folder: Path, commits: int = 1000, seed: int = 7) -> Path:
    """A repository of some five objects a commit: Python's own library, edited line by line."""
    chance = random.Random(seed)
    library = Path(sysconfig.get_paths()["stdlib"])
    texts = [path for path in sorted(library.glob("*/*.py")) if 2_000 < path.stat().st_size < 60_000]
    files: dict[str, list[str]] = {}
    parts = []
    for number in range(commits):
        changed = chance.sample(sorted(files), min(len(files), chance.randint(1, 3)))
        if number < 80 or chance.random() < 0.05:
            path = texts.pop(chance.randrange(len(texts)))
            files[f"{path.parent.name}/{path.name}"] = path.read_text(errors="replace").splitlines()
            changed.append(f"{path.parent.name}/{path.name}")
        parts.append(f"commit refs/heads/main\ncommitter A <a@b> {1_700_000_000 + 3600 * number} +0000\n".encode())
        parts.append(_data(f"Change {', '.join(changed)}\n"))
        for name in changed:
            lines = files[name]
            for _ in range(chance.randint(1, 5)):
                at = chance.randrange(len(lines) + 1)
                other = chance.choice(list(files.values()))
                lines[at : at + chance.randint(0, 4)] = chance.sample(other, min(len(other), chance.randint(1, 8)))
            parts += [f"M 100644 inline {name}\n".encode(), _data("\n".join(lines))]
    git(init(folder), "fast-import", "--quiet", given=b"".join(parts))
    return folder


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)


def nights(source: Path, step: int, scratch: Path) -> dict[str, list[Night]]:
    """`step` commits a night, fetched into a repository that lives as one does."""
    commits = git(source, "rev-list", "--first-parent", "HEAD").decode().split()
    live = init(scratch / "live")
    stores = {way: create(local(scratch / f"stored{number}")) for number, way in enumerate(WAYS)}
    found: dict[str, list[Night]] = {way: [] for way in WAYS}
    for night in range(NIGHTS):
        git(source, "update-ref", f"refs/nights/{night}", commits[step * (NIGHTS - 1 - night)])
        git(
            live,
            "fetch",
            "--quiet",
            "--no-auto-gc",
            "--update-head-ok",
            str(source),
            f"+refs/nights/{night}:refs/heads/main",
        )
        if night == REPACK:
            git(live, "gc", "--quiet")
        if night == PACK_ANEW:
            git(live, "repack", "-a", "-d", "-f", "-q")
        for way, make in WAYS.items():
            before = _cpu()
            snapshot = stores[way].save(_OneItem(make, live), about(night), stores[way].destination)
            figures = snapshot.figures
            found[way].append(Night(figures["content_bytes"], figures["stored_bytes"], _cpu() - before))
    return found


def _cpu() -> float:
    """Seconds of this process and of the gits that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def table(found: dict[str, list[Night]]) -> str:
    lines = [
        "| way | bundle, MB | first night, MB | usual night, kB | after gc, kB | packed anew, kB | all, MB | CPU, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for way, each in found.items():
        usual = median(night.stored for number, night in enumerate(each) if number not in (0, REPACK, PACK_ANEW))
        cells = (
            f"{each[-1].bundle / 1e6:.1f}",
            f"{each[0].stored / 1e6:.2f}",
            *(f"{stored / 1e3:.0f}" for stored in (usual, each[REPACK].stored, each[PACK_ANEW].stored)),
            f"{sum(night.stored for night in each) / 1e6:.2f}",
            f"{median(night.cpu for night in each):.2f}",
        )
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.git_bundles")
    parser.add_argument("--repository", type=Path, help="whose newest history is replayed; default: one made up")
    parser.add_argument("--step", type=int, default=5, help="commits a night")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        scratch = Path(folder)
        if asked.repository:
            git(scratch, "clone", "--quiet", "--mirror", str(asked.repository.resolve()), "source")
        else:
            history(scratch / "source")
        objects = git(scratch / "source", "rev-list", "--objects", "--count", "HEAD").decode().strip()
        found = nights(scratch / "source", asked.step, scratch)
        print(f"{objects} objects, {asked.step} commits a night\n\n{table(found)}")


if __name__ == "__main__":
    main()

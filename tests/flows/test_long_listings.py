"""What lists items holds none of them: a source has a million, and a bad day no memory to spare."""

from __future__ import annotations

import sys
from functools import partial

import pytest

from tasks.item import FILE, Entry, Item
from tests.flows.terminal import Terminal
from tests.repositories import about, create, keys, local
from tests.unit.repository.memory_child import Generated, Tiny

COUNT = 60_000
MOST = 136 << 20
_MEASURED = (
    "import resource, subprocess, sys\n"
    "code = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
    "sys.exit(code)"
)


class Nightly(Tiny):
    """Other bytes each night."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self._rest += b"%d" % entry.version[0]


def items(night: int) -> Generated:
    entries = (Entry(b"folder/file-%08d" % at, FILE, mtime_ns=at, version=(night + 1, at)) for at in range(COUNT))
    return Generated(Item(entry, partial(Nightly, entry)) for entry in entries)


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """All items have other bytes in the second."""
    folder = tmp_path_factory.mktemp("many")
    repository = create(local(folder / "stored"))
    for night in (0, 1):
        repository.save(items(night), about(night), repository.destination, scratch=folder)
    (folder / "sheet.txt").write_text(keys().sheet)  # a passphrase takes more memory to open keys than all else
    return Terminal(folder)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (("find", "file-*"), 2 * COUNT),
        (("diff", "docs", about(0).id), COUNT),
        (("show", "docs", "--items"), COUNT),
    ],
    ids=["find", "diff", "show"],
)
def test_a_long_listing_takes_little_memory(
    two_nights: Terminal, command: tuple[str, ...], lines: int, form: tuple[str, ...]
) -> None:
    place = ("--from", "stored", "--recovery-sheet", "sheet.txt")
    done = two_nights.run(*command, *form, *place, prefix=(sys.executable, "-c", _MEASURED))
    assert done.stdout.count("file-") == lines
    peak = int(done.stderr.split()[-1]) << 10
    assert peak < MOST, f"{peak >> 20} MiB"

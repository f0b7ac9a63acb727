"""The engine alone, without Celery and a night around it: one step of one source, to be looked at by a profiler.

Run as a program, it says what the step took, without the start of Python.
"""

from __future__ import annotations

import gc
import json
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from tasks.destinations import Local, Prefixed
from tasks.destinations.local import LocalSettings
from tasks.memory import keep_freed_memory
from tasks.repository import About, ReaderKey, Repository, WriterKey, create_keys, open_keys, snapshot_id
from tasks.sources.kinds import SOURCES
from tasks.sources.source import Restoring, Source
from tasks.stopwatch import Stopwatch

NAME = "corpus"
PASSPHRASE = "a benchmark's passphrase"


def create(keys: Path) -> None:
    """A keyring, as `init` makes it."""
    document, writer, _ = create_keys(PASSPHRASE)
    keys.mkdir(mode=0o700)
    (keys / "keyring.json").write_bytes(document)
    (keys / "writer.key").write_text(writer.to_text())


def main(verb: str, place: Path, kind: str, folder: Path) -> None:
    """`place` holds the keys, the cache and the repository; `folder` is what to save, or where to restore to."""
    if verb == "create":
        create(place / "keys")
        (place / "repository").mkdir()
    elif verb == "save":
        _save(place, kind, folder)
    elif verb == "restore":
        repository = _open(place)
        source = _source(kind, folder)
        items = repository.read(repository.snapshots()[-1])
        source.restore(items, items, folder, Restoring())
    elif verb == "read":
        found = _open(place).check(depth="content")
        if not found.good:
            sys.exit("\n".join(f"{each.name}: {each.what}" for each in found.damage))
    else:
        sys.exit(f"`{verb}` is no verb of this program")


def _save(place: Path, kind: str, folder: Path) -> None:
    destination = _destination(place)
    writer = WriterKey.from_text((place / "keys" / "writer.key").read_text())
    document = (place / "keys" / "keyring.json").read_bytes()
    repository = Repository.create_or_open(destination, NAME, writer, document, cache=place / "cache")
    run, now = uuid.uuid4().hex, datetime.now(UTC)
    about = About(id=snapshot_id(NAME, run, now), source=NAME, kind=kind, run=run, started=now)
    scratch = place / "packs"
    scratch.mkdir(exist_ok=True)
    snapshot = repository.save(_source(kind, folder).capture(), about, destination, scratch=scratch)
    if not snapshot.complete:
        sys.exit(f"the snapshot is incomplete: {snapshot.flaws[:5]}")


def _destination(place: Path) -> Prefixed:
    return Prefixed(Local(LocalSettings(path=place / "repository")), f"{NAME}/")


def _open(place: Path) -> Repository:
    destination = _destination(place)
    keys: ReaderKey = open_keys(Repository.key_document(destination), passphrase=PASSPHRASE)
    return Repository.open(destination, keys, cache=place / "cache")


def _source(kind: str, folder: Path) -> Source:
    made = SOURCES[kind]
    return made(NAME, made.Settings.model_validate({"kind": kind, "paths": [str(folder)]}))


if __name__ == "__main__":
    keep_freed_memory()  # as a worker does
    gc.freeze()
    watch = Stopwatch()
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    print(json.dumps(watch.figures()))

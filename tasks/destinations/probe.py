"""Trying a destination for real: write, read, list and delete an object that means nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from tasks.destinations.destination import Destination
from tasks.errors import BackupError, Exists, Refused

_FOLDER = "probes/"


def probe(destination: Destination) -> Iterator[str]:
    """Everything a night does there, in small. Yields a line for each thing that works; raises what does not. That the
    probe can't be deleted is no fault: a writer need not be able to, and the next one who may cleans up."""
    content = os.urandom(1024)
    name = f"{_FOLDER}{os.urandom(8).hex()}"
    destination.put(name, content)
    yield "writes"
    try:
        if destination.get(name) != content or destination.get(name, 100, 24) != content[100:124]:
            raise Refused("what is read back is not what was written: a proxy or a cache in between changes it")
        yield "reads"
        if name not in [listed.name for listed in destination.list(_FOLDER)]:
            raise Refused("what was written does not show in a listing")
        yield "lists"
        try:
            destination.put(name, b"other")
        except Exists:
            yield "never overwrites"
        else:
            raise Refused("it overwrites what is there: no backup is safe on it")
    finally:
        deleted = False
        with suppress(BackupError):
            for listed in list(destination.list(_FOLDER)):
                destination.delete(listed.name)
            deleted = True
    yield "deletes" if deleted else "may not delete (right for a worker that only writes)"

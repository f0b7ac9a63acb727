"""ChromaDB: its persist folder at one moment, or everything that a server gives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tasks.errors import Damaged, Occupied, Refused, SourceError, Unavailable
from tasks.item import FILE, FOLDER, Facts, Stored, StoredItems
from tasks.scratch import usual
from tasks.settings import SourceSettings, TargetSettings
from tasks.sources.chroma import left_beside
from tasks.sources.chroma.columns import ABOUT
from tasks.sources.chroma.completed_items import CompletedItems
from tasks.sources.chroma.export_capture import SERVER, ExportCapture, databases_of
from tasks.sources.chroma.exported import exported_facts, exported_tenants
from tasks.sources.chroma.facts import count
from tasks.sources.chroma.folder_capture import FolderCapture, folder_facts
from tasks.sources.chroma.folder_check import folder_problems, size_of
from tasks.sources.chroma.incoming import Lacking, incoming
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.restore import CollectionRestore, chosen_collections
from tasks.sources.chroma.served_folder import SCHEME, find_chroma, served
from tasks.sources.chroma.server import Access, NotTaken, Server
from tasks.sources.chroma.server_check import server_problems
from tasks.sources.chroma.server_facts import server_facts
from tasks.sources.chroma.settings import ChromaSettings, ChromaTarget
from tasks.sources.chroma.stored_folder import DATABASE, StoredFolder
from tasks.sources.file_restore import restore_files
from tasks.sources.not_restored import NotRestored
from tasks.sources.source import Capture, Problem, Rehearsal, Restoring

_TRIES = 5


class Chroma:
    """A `Source`, and `Served`."""

    kind: ClassVar[str] = "chroma"
    Settings: ClassVar[type[SourceSettings]] = ChromaSettings
    Target: ClassVar[type[TargetSettings]] = ChromaTarget

    def __init__(self, name: str, settings: ChromaSettings) -> None:
        self.name = name
        self.settings = settings

    def roots(self) -> dict[str, str]:
        """The folder's name in snapshots, and where it is; of a server there is none."""
        path = self.settings.path
        return {} if path is None else {_label(path): os.path.abspath(path)}

    def check(self) -> list[Problem]:
        settings = self.settings
        if settings.path is not None:
            return list(folder_problems(settings.path, self._scratch))
        return list(server_problems(self._access, settings.tenants, self._scratch))

    def capture(self) -> Capture:
        settings = self.settings
        if settings.path is not None:
            return FolderCapture(
                _label(settings.path), settings.path, self._scratch, leave_out=settings.indexes == "rebuild"
            )
        return ExportCapture(self._access, settings.tenants, self._scratch)

    def measure(self) -> int:
        """The folder's bytes; of a server those of its vectors, which are most of it."""
        settings = self.settings
        if settings.path is not None:
            return size_of(settings.path)
        with Server(self._access) as server:
            server.version()
            return sum(
                each.count() * 4 * (each.about.dimension or 0)
                for tenant, databases in databases_of(server, settings.tenants).items()
                for database in databases
                for each in server.collections(tenant, database)
            )

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        """A folder as it was, for a Chroma of the same or a newer version to open; an export as its files. What is
        neither file nor folder stays away: no capture puts it there, and a Chroma would write through a link."""
        missed, kept = NotRestored(), list[Stored]()
        for item in chosen:
            if item.entry.type in (FILE, FOLDER):
                kept.append(item)
            else:
                missed.add("neither a file nor a folder: a Chroma has no other", item.entry.path)
        chosen = kept
        paths = [item.entry.path for item in chosen]
        databases = [into / os.fsdecode(path) for path in paths if path.rpartition(b"/")[2] == os.fsencode(DATABASE)]
        left_beside.look(databases, overwrite=how.overwrite)
        replaced = partial(left_beside.remove, databases)
        return missed.lines() + restore_files(
            CompletedItems(items, self._scratch), chosen, into, how, replaced=replaced
        )

    def examine(self, scratch: Path) -> Facts:
        if self.settings.path is None:
            return exported_facts(scratch)
        return _facts_in(scratch / _label(self.settings.path))

    def restore_into(self, items: StoredItems, chosen: Iterable[Stored], target: Any, how: Restoring) -> list[str]:
        """Each collection is made if it is not there. One that is there must hold nothing but what the snapshot holds,
        so that a restore which ended too early goes on; with `how.overwrite` all else goes, with `target.mix` it
        stays. Raises in the end `Damaged` for one that is not whole in the snapshot, `Refused` for one that a server of
        this version does not take."""
        wanted = _as_target(target)
        missed: list[str] = []
        damaged: list[str] = []
        refused: list[str] = []
        with (
            incoming(items, chosen, wanted.scratch or usual()) as known,
            _reached(wanted) as access,
            Server(access) as server,
        ):
            server.version()
            restoring = CollectionRestore(server, replace=how.overwrite, mix=wanted.mix)
            for records, about in chosen_collections(known, wanted):
                try:
                    if isinstance(records, Lacking):
                        raise NotWhole(records.why)
                    missed += restoring.put(records, about)
                except (NotWhole, Damaged) as error:
                    damaged.append(f"`{about.label}`: {error}")
                except NotTaken as error:
                    refused.append(f"`{about.label}`: {error}")
                except Unavailable as error:
                    said = str(error) if str(error).endswith("?") else f"{error}."
                    raise type(error)(f"{said} Restore again: it goes on where it ended") from error
        others = f"not {'; '.join(refused)}: `as` and `database` give a collection another name" if refused else ""
        if damaged:
            lost = f"the snapshot does not hold all of {'; '.join(damaged)}"
            raise Damaged(f"all else was restored, but {lost}{'; and ' if others else ''}{others}")
        if refused:
            raise Refused(f"all else was restored, but {others}")
        return missed

    def examine_at(self, target: Any) -> Facts:
        """Of all collections of the target's tenants and databases, or of one, which counts under the name that it has
        in the snapshot. What only copies of files have alike, such as the bits of cosine vectors, is left out."""
        return _asked(_as_target(target), self.settings.tenants)

    def rehearse(self, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
        """A folder is put back as it was, looked at, and then opened by Chroma and asked. Which of the two a snapshot
        is, and of which tenants, it says itself: the settings may be others by now."""
        paths = [item.entry.path for item in items]
        if SERVER.encode() in paths:
            return self._rehearsed_export(items, captured, scratch)
        missed = self.restore(items, items, scratch, Restoring(owners=False))
        folder = scratch / os.fsdecode(paths[0].partition(b"/")[0])
        looked = _facts_in(folder)
        with StoredFolder(folder) as stored:
            tenants = sorted({each.about.tenant for each in stored.collections()})
        asked = _asked_again(ChromaTarget(url=f"{SCHEME}{folder}"), tenants, captured)
        return Rehearsal((looked, asked), missed)

    def _rehearsed_export(self, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
        target = ChromaTarget(url=f"{SCHEME}{scratch / 'chroma'}", scratch=scratch)
        # A server may hold no collection.
        restores = any(item.entry.path.rpartition(b"/")[2] == ABOUT.encode() for item in items)
        missed = self.restore_into(items, items, target, Restoring()) if restores else []
        found = _asked_again(target, exported_tenants(items), captured)
        otherwise = [name for name, fact in found.items() if captured.get(name) != fact]
        said = [name for name in otherwise if _said_otherwise(captured.get(name), found[name])]
        if said:
            # In their last bits, real numbers come back otherwise: whether all else is alike, a second restore knows.
            with suppress(Occupied), incoming(items, items, scratch) as known:
                self.restore_into(items, items, target, Restoring())
                stored = {name: fact for each in known for name, fact in count(each).facts().items()}
                found |= {name: stored[name] for name in said}
        return Rehearsal((found,), missed)

    def rehearsing(self) -> None:
        find_chroma()

    @property
    def _scratch(self) -> Path:
        return self.settings.scratch or usual()

    @property
    def _access(self) -> Access:
        settings = self.settings
        if settings.url is None:
            raise SourceError(f"the source `{self.name}` has no `url`")
        return Access(settings.url, settings.token, settings.token_header)


def _facts_in(folder: Path) -> Facts:
    """Raises `SourceError`."""
    try:
        facts, wrong = folder_facts(folder)
    except NotWhole as error:
        raise SourceError(f"the restored copy in `{folder}` can't be read: {error}") from error
    for path, why in wrong.items():
        raise SourceError(f"the restored copy in `{folder}` is not whole: `{path}`: {why}")
    return facts


def _asked(target: ChromaTarget, tenants: Sequence[str]) -> Facts:
    with _reached(target) as access, Server(access) as server:
        server.version()
        return server_facts(server, tenants, target)


def _asked_again(target: ChromaTarget, tenants: Sequence[str], captured: Facts) -> Facts:
    """Chroma makes an index anew, by chance, each time that it opens a small collection: one that answers less than
    the other did is tried again, and may answer more."""
    found = _asked(target, tenants)
    answers = [name for name in found if name.startswith("answers ") and name in captured]
    for _ in range(_TRIES):
        if all(found[name] >= captured[name] for name in answers):
            break
        again = _asked(target, tenants)
        found |= {name: max(found[name], again[name]) for name in answers}
    return found | {name: min(found[name], captured[name]) for name in answers}


def _said_otherwise(before: Any, fact: Any) -> bool:
    """Whether two facts of a collection differ in the digest of what its records say, and in nothing else."""
    if not isinstance(before, dict) or not isinstance(fact, dict) or before.keys() != fact.keys():
        return False
    return [key for key in fact if fact[key] != before[key]] == ["content_digest"]


@contextmanager
def _reached(target: ChromaTarget) -> Iterator[Access]:
    """How to reach the target; a folder is served meanwhile."""
    if isinstance(target.url, str) and target.url.startswith(SCHEME):
        with served(Path(target.url.removeprefix(SCHEME)), target.scratch or usual()) as access:
            yield access
    else:
        yield Access(target.url, target.token, target.token_header)


def _as_target(target: Any) -> ChromaTarget:
    if not isinstance(target, ChromaTarget):
        raise TypeError("a ChromaTarget is wanted")
    return target


def _label(path: Path) -> str:
    return os.path.basename(os.path.abspath(path)) or "chroma"

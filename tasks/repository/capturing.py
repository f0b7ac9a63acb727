"""Taking snapshots: what a source's capture gives becomes packs, an index and, last, a snapshot."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

from tasks.destinations.destination import Destination
from tasks.errors import Condemned, Damaged, Exists, Missing
from tasks.item import HELD, Facts, Flaw, Item, Stored
from tasks.listing import listed
from tasks.repository import reliance
from tasks.repository.blocks import Blocks
from tasks.repository.buffers import Buffers
from tasks.repository.condemned import doomed_packs
from tasks.repository.flaws import judged
from tasks.repository.inventory import Inventory
from tasks.repository.known import Known
from tasks.repository.packing import Packing, scratch_folder
from tasks.repository.parts import Joining, Part, Whole, in_pieces, summed
from tasks.repository.reading import Items
from tasks.repository.records import Group
from tasks.repository.references import References
from tasks.repository.saving import Progress, Saving
from tasks.repository.sealing import seal, unseal
from tasks.repository.snapshot import About, Snapshot

_BUFFERS = 12


class Capture(Protocol):
    """What a source's pass offers: items in order, and, once they are stored, flaws and facts."""

    def __iter__(self) -> Iterator[Item]: ...

    def stored(self, item: Stored) -> None: ...

    def flaws(self) -> Iterable[Flaw]: ...

    def facts(self) -> Facts: ...


@runtime_checkable
class Comparing(Capture, Protocol):
    """A capture that tells without reading when its source is as it was: counting it again would find the same."""

    def compare(self, facts: Facts, items: Iterable[Stored]) -> None:
        """Called before the iteration, with the last snapshot if it was whole, of this version, and all there. Raises
        what going through its items does, and has heard nothing then."""
        ...


class Counting(Protocol):
    """What counts the items of a source whose parts were captured apart."""

    def stored(self, item: Stored) -> None: ...

    def facts(self) -> Facts: ...


class Capturing(Inventory):
    """The part of a repository that takes snapshots."""

    def save(
        self,
        capture: Capture,
        about: About,
        into: Destination,
        *,
        scratch: Path | None = None,
        progress: Progress | None = None,
    ) -> Snapshot:
        """Take a snapshot: new chunks, their index and, last, the snapshot go into `into`, which is this repository's
        destination or a spool beside it. What `into` has indexed already, from a run that was killed, is used.
        `scratch` is a folder on the same disk as `into`, for packs under way. The same `about.id` again returns what
        is there. Raises `SourceError`, `Unavailable`, `NoSpace`, `Damaged`, `Condemned`.
        """
        name = f"snapshots/{about.id}"
        existing = next((listed for listed in into.list(name) if listed.name == name), None)
        if existing:
            return Snapshot.from_bytes(name, unseal(self.keys.metadata, name, into.get(name)))
        part = self.store(capture, into, scratch=scratch, progress=progress)
        return self.finish(part, about, into)

    def store(
        self,
        capture: Capture,
        into: Destination,
        *,
        start: bytes = b"",
        scratch: Path | None = None,
        progress: Progress | None = None,
    ) -> Part:
        """As `save`, of a capture that takes only some of a source's paths, none but folders before `start`; without a
        snapshot. `join` makes one of all parts, `finish` of one that turned out to be all."""
        known, made = Known(), list[bytes]()
        index = self.reliable_lists(known)
        if into is not self.destination:
            # Known only, and in no index: blocks are read from here, not from `into`.
            waiting = Inventory(into, self.source, self.writer)
            origins = waiting.index_names()
            # Some may have been sent on already.
            there = waiting.listed_packs() | self.listed_packs() if origins else {}
            for origin in origins:
                for pack in waiting.packs_of(origin):
                    if there.get(pack.name) == pack.size:
                        known.add(pack)
                        made.append(pack.name)
        last = self.last_to_go_by()
        blocks = Blocks(self.destination, index, self.keys)
        previous = Items(blocks, last.level, bytes.fromhex(last.content)) if last else Items(blocks, 0, b"")
        buffers = Buffers(_BUFFERS)
        expected = last.figures.get("content_bytes", 0) if last and not start else 0
        sure = last is not None and self._has_all(last, known)
        if last and sure and isinstance(capture, Comparing) and _is_whole(last):
            with suppress(Damaged, Missing):
                capture.compare(last.facts, previous)
        with scratch_folder(scratch) as folder:
            packing = Packing(into, folder, self.keys, buffers)
            with packing:
                saving = Saving(
                    self.keys,
                    packing,
                    buffers,
                    known=known,
                    previous=_readable(previous, start),
                    sure=sure,
                    lists=previous,
                    progress=progress,
                    expected_bytes=expected,
                )
                saved = saving.save(listed(capture), capture.stored)
        flaws = [*capture.flaws(), *saved.flaws]
        return Part(saved, (*made, *packing.packs), flaws, capture.facts(), frozenset(known.packs))

    def join(
        self,
        parts: Sequence[Part],
        counting: Counting,
        about: About,
        into: Destination,
        *,
        links: Collection[bytes] = (),
        apart: Sequence[Part | Whole] = (),
        pieces: Sequence[Part] = (),
        scratch: Path | None = None,
        progress: Progress | None = None,
    ) -> Snapshot:
        """One snapshot of all the parts of a source, in the order of their paths: the same as one capture of all of it.
        Their packs and indexes are in this repository. `links`: paths that hard links in later parts name. `apart`:
        files that none of the parts has, each captured alone or in `pieces`, which are what captured these. Raises
        `Damaged`, `Condemned`, `Unavailable`, `NoSpace`."""
        name = f"snapshots/{about.id}"
        if any(listed.name == name for listed in into.list(name)):
            return Snapshot.from_bytes(name, unseal(self.keys.metadata, name, into.get(name)))
        # Contents stay where they are: of the packs that hold them it matters only that they are there.
        known = Known(lists=True)
        self.reliable_lists(known)
        blocks = Blocks(self.destination, self.sound_index(lists=True), self.keys)
        listed = (Items(blocks, part.saved.level, part.saved.content) for part in parts)
        read = partial(Items, blocks)
        files = [
            read(file.saved.level, file.saved.content) if isinstance(file, Part) else [in_pieces(file, read)]
            for file in apart
        ]
        items = Joining(listed, links, files)
        with scratch_folder(scratch) as folder:
            buffers = Buffers(_BUFFERS)
            packing = Packing(into, folder, self.keys, buffers)
            with packing:
                nothing = Items(blocks, 0, b"")
                saving = Saving(self.keys, packing, buffers, known=known, previous=(), lists=nothing, progress=progress)
                saved = saving.relist(items, counting.stored)
        parts = [*parts, *(file for file in apart if isinstance(file, Part))]
        every = [*parts, *pieces]
        sums = summed(every, ("unchanged", "read_bytes", "new_bytes", "stored_bytes", "seconds"))
        sums["stored_bytes"] += saved.figures["stored_bytes"]
        counted = {"files": items.files, "content_bytes": items.content_bytes, "parts": len(every)}
        saved.figures = saved.figures | sums | counted
        flaws = dict.fromkeys([*(flaw for part in parts for flaw in part.flaws), *items.flaws])
        packs = [*(pack for part in every for pack in part.packs), *packing.packs]
        return self.finish(Part(saved, tuple(packs), list(flaws), counting.facts()), about, into)

    def last_groups(self) -> Iterator[Group]:
        """The items of the last snapshot, as far as they can be read."""
        last = self.last_to_go_by()
        if last is None:
            return iter(())
        blocks = Blocks(self.destination, self.reliable_lists(), self.keys)
        return _readable(Items(blocks, last.level, bytes.fromhex(last.content)), b"")

    def last_figures(self) -> dict[str, float] | None:
        """Those of the last snapshot; None without one."""
        last = self.last_to_go_by()
        return last.figures if last else None

    def finish(self, part: Part, about: About, into: Destination) -> Snapshot:
        """The snapshot of a part that is, or turned out to be, all of its source."""
        name, saved = f"snapshots/{about.id}", part.saved
        flaws = judged(chain(part.flaws, self._emptied(part, about)), about.allow_incomplete)
        snapshot = Snapshot(
            id=about.id,
            source=about.source,
            kind=about.kind,
            run=about.run,
            plan=about.plan,
            host=about.host,
            started=about.started,
            finished=self.clock(),
            complete=flaws.allowed,
            version=_version(),
            level=saved.level,
            content=saved.content.hex(),
            roots=about.roots,
            flaws=flaws.first,
            packs=tuple(pack.hex() for pack in part.packs),
            facts=part.facts,
            figures=saved.figures | {"flaws": flaws.total},
            format=saved.format,
        )
        if part.known is not None:
            self._remembered.keep(snapshot, part.known.union(part.packs))
        if into is self.destination:
            self._look_again(snapshot, part.known)
        elif part.known is not None:
            reliance.note(into, self.keys, snapshot, part.known)
        try:
            into.put(name, seal(self.keys.metadata, name, snapshot.to_bytes()))
        except Exists:
            # The same task ran twice at once: the other one was first, and its snapshot is as good.
            return Snapshot.from_bytes(name, unseal(self.keys.metadata, name, into.get(name)))
        return snapshot

    def _emptied(self, part: Part, about: About) -> Iterator[Flaw]:
        """A source that had files, or a server that had anything, and has none: perhaps its disk is not mounted. What
        was proven of it would else make room for what is proven to be nothing."""
        counted = HELD in part.facts
        if part.facts[HELD] if counted else part.saved.figures.get("files", 1):
            return
        last = next((each for each in reversed(self.readable_snapshots()) if each.complete), None)
        had = (last.facts.get(HELD) if counted else last.figures.get("files")) if last else 0
        if last and had:
            why = f"the source holds {'nothing' if counted else 'no file'} any more, and `{last.id}` had {had:,.0f}"
            mend = "mount its disk" if about.roots else "give its server its data again"
            for root in about.roots or (about.source,):
                yield Flaw(os.fsencode(root), "emptied", f"{why}: {mend}, or put `{root}` into `allow_incomplete`")

    def _has_all(self, snapshot: Snapshot, known: Known) -> bool:
        """Whether every chunk of a snapshot is sure to be known."""
        packs = self._remembered.packs(snapshot)
        return packs is not None and packs <= known.packs

    def _look_again(self, snapshot: Snapshot, known: frozenset[bytes] | None) -> None:
        """Raises `Condemned` where a prune has deleted, or may soon delete, what a long capture relies on; `known` are
        all packs, beside its own, that it may rely on."""
        doomed, _ = doomed_packs(self.destination, self.keys, self.clock())
        if known is not None:
            perhaps = known.union(map(bytes.fromhex, snapshot.packs))
            if not perhaps & doomed and perhaps <= self.listed_packs().keys():
                return
        there = self.sound_index()
        references = References(Blocks(self.destination, there, self.keys)).follow([snapshot])
        used = there.used_bytes(references.used)
        if references.findings or any(used[at] and pack.name in doomed for at, pack in enumerate(there.packs)):
            raise Condemned("a prune condemned what this capture relies on, for it took too long: back up again")


def _readable(items: Items, start: bytes) -> Iterator[Group]:
    """The last item list, from somewhere before `start` on, as far as it can be read: what is damaged must not stop a
    new capture."""
    try:
        yield from items.groups(start)
    except (Damaged, Missing):
        return


def _is_whole(snapshot: Snapshot) -> bool:
    """Whether nothing was wrong with it. Another version may count otherwise."""
    return not snapshot.flaws and snapshot.version == _version()


def _version() -> str:
    try:
        return version("geometra-backup")
    except PackageNotFoundError:
        return "source"

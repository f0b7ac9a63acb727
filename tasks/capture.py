"""Capturing a source into the spool, whole or in parts that several workers share; runs without Celery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.ahead import Ahead
from tasks.destinations import Destination
from tasks.division import Bounded, Division, divide, seems_large
from tasks.errors import NotFound, Refused, SettingsError, Unavailable
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.parts import Parts
from tasks.pieces import Digest, Only, Piece, PieceCapture, Without, alone, read_digest
from tasks.progress import Progress, unheard
from tasks.record import Run, step_name
from tasks.repository import About, Part, Repository, Snapshot, Whole, snapshot_id
from tasks.sources.path_text import path_text
from tasks.sources.source import Capture, Divisible, Rooted


def capture(
    installation: Installation,
    source: str,
    run: Run,
    *,
    now: datetime | None = None,
    progress: Progress = unheard,
    sharing: Share | None = None,
) -> Outcome:
    """Capture a source into this host's spool, deduplicated against its first destination that can be reached. One that
    is large is divided, where there is someone to share it with.

    The run's id and start make the snapshot's id, so a capture for the same run is made once, and a second call
    returns what the first came to. Raises `SourceError`, `Unavailable`, `NoSpace`.
    """
    spool = installation.spool
    installation.tidy_spool()
    if sealed := spool.sealed(source, run.id):
        return Outcome.from_json(sealed.outcome)
    division = parts_of(installation, source, run.id).division() if sharing else None
    reference, repository = _reference(installation, source, division.reference if division else "")
    name = snapshot_id(source, run.id, run.started)
    try:
        return _outcome(repository.snapshot(name))
    except NotFound:
        pass
    settings, made = installation.settings, installation.source(source)
    about = About(
        id=name,
        source=source,
        kind=settings.sources[source].kind,
        run=run.id,
        plan=run.plan,
        host=settings.host,
        started=max(now or datetime.now(UTC), run.started),  # a clock that is behind makes it no older
        allow_incomplete=settings.sources[source].allow_incomplete,
        roots=made.roots() if isinstance(made, Rooted) else {},
    )
    with spool.attempt(source, run.id) as attempt:
        scratch = spool.scratch(attempt)
        with sending_ahead(installation, source, attempt, reference) as into:
            if sharing is None or not isinstance(made, Divisible) or made.limits().parts < 2:
                snapshot = repository.save(made.capture(), about, into, scratch=scratch, progress=progress)
            else:
                shared = _Shared(installation, repository, made, about=about, reference=reference)
                snapshot = shared.capture(division, into, sharing, scratch=scratch, progress=progress)
        outcome = _outcome(snapshot)
        outcome = replace(outcome, figures=outcome.figures | into.figures())
        sealed = spool.seal(attempt, snapshot.id, reference, outcome.to_json())
    return Outcome.from_json(sealed.outcome)


Share = Callable[[Division], None]
"""Has all parts captured that have no outcome yet, by whoever is free. Raises `PartFailed`."""


class _Shared:
    """The capture of a source that several workers share if it is large: who comes first divides it, and joins what
    all have stored."""

    def __init__(
        self, installation: Installation, repository: Repository, made: Divisible, *, about: About, reference: str
    ) -> None:
        self._installation, self._repository, self._made = installation, repository, made
        self._about, self._reference = about, reference
        self._parts = parts_of(installation, about.source, about.run)

    def capture(
        self, division: Division | None, into: Ahead, sharing: Share, *, scratch: Path, progress: Progress
    ) -> Snapshot:
        """Raises what `Repository.save` and `join` do, and `PartFailed`."""
        if division is None:
            found = self._divided(into, scratch, progress)
            if isinstance(found, Snapshot):
                return found
            division = found
        if division.reference != self._reference:
            raise Unavailable(f"`{self._about.source}` was divided by another worker meanwhile")
        sharing(division)
        how: dict[str, Any] = {"scratch": scratch, "progress": progress}
        done = [self._parts.part(str(number)) for number in range(1, len(division.parts) + 1)]
        parts, pieces = done[: len(division.stretches)], done[len(division.stretches) :]
        left, apart = iter(pieces), list[Part | Whole]()
        for large in division.large:
            whole = large.joined(islice(left, len(large.parts())))
            apart.append(whole or self._again(large.path, into, **how))
        counting = self._made.joined(part.facts for part in parts)
        how |= {"links": division.links, "apart": apart, "pieces": pieces}
        return self._repository.join(parts, counting, self._about, into, **how)

    def _again(self, path: bytes, into: Ahead, **how: Any) -> Part:
        """A file that was another one for some of those who captured its pieces: in one go, as it is now."""
        part = self._repository.store(Only(self._made.capture_stretch(alone(path)), path), into, start=path, **how)
        into.drain(how["progress"])
        return part

    def _divided(self, into: Ahead, scratch: Path, progress: Progress) -> Division | Snapshot:
        """How the source is divided; or all of it, where it is not large, or can't be divided."""
        repository, made = self._repository, self._made
        how: dict[str, Any] = {"scratch": scratch, "progress": progress}
        if seems_large(made, repository.last_figures()):
            division = divide(made, repository.last_groups(), self._reference)
            if division:
                return self._parts.keep_division(division)
        else:
            # As far as anyone knows it is small: nobody looks through it before it turns out not to be.
            bounded = Bounded(made.capture(), made)
            part = repository.store(bounded, into, **how)
            if not bounded.cut:
                return repository.finish(part, self._about, into)
            division = divide(made, repository.last_groups(), self._reference, done_until=bounded.cut)
            if division:
                into.drain(progress)
                kept = self._parts.keep_division(division)
                if kept == division:  # or it was divided by another worker, elsewhere
                    self._parts.keep_part("1", part)
                    self._installation.record.settle(*_done(self._about, "1", part, self._installation.settings.host))
                return kept
        return repository.save(made.capture(), self._about, into, **how)


def capture_part(
    installation: Installation, source: str, run: Run, number: str, *, progress: Progress = unheard
) -> Outcome:
    """Capture one part of a source that was divided. All that it stores is at the destination that the capture relies
    on, and nothing of it is left in this host's spool, when it is done. Raises what `capture` does."""
    spool, parts = installation.spool, parts_of(installation, source, run.id)
    installation.tidy_spool()
    division, made = parts.division(), installation.source(source)
    if division is None or not isinstance(made, Divisible):
        raise NotFound(f"`{source}` is not divided in the run `{run.id}`, or no more: run the backup again")
    wanted = division.parts[int(number) - 1]
    if isinstance(wanted, Digest):
        part = parts.keep_part(number, read_digest(made.capture_stretch(alone(wanted.path)), wanted, progress))
        return _part_outcome(source, run.id, number, part)
    capturing: Capture
    if isinstance(wanted, Piece):
        start, capturing = wanted.path, PieceCapture(made.capture_stretch(alone(wanted.path)), wanted)
    else:
        start, capturing = wanted.start, Without(made.capture_stretch(wanted), division.apart)
    repository = installation.repository(source, division.reference, create=True)
    with spool.attempt(source, run.id, part=number) as attempt:
        scratch = spool.scratch(attempt)
        with sending_ahead(installation, source, attempt, division.reference, at_once=True) as into:
            part = repository.store(capturing, into, start=start, scratch=scratch, progress=progress)
            into.drain(progress)
        part = parts.keep_part(number, part)
        spool.clear(attempt)
    return _part_outcome(source, run.id, number, part)


def blank_part(source: str, run: str, number: str) -> Outcome:
    return Outcome("backup", source, run=run, part=number)


def parts_of(installation: Installation, source: str, run: str) -> Parts:
    return Parts(installation.record, installation.writer_key().for_source(source), source, run)


def _done(about: About, number: str, part: Part, host: str) -> tuple[str, str, dict[str, Any]]:
    outcome = _part_outcome(about.source, about.run, number, part)
    return about.run, step_name("backup", about.source, part=number), outcome.to_json() | {"host": host}


def _part_outcome(source: str, run: str, number: str, part: Part) -> Outcome:
    figures = part.saved.figures | {"flaws": len(part.flaws)}
    return replace(blank_part(source, run, number), figures=figures)


def sending_ahead(
    installation: Installation, source: str, attempt: Path, reference: str, *, at_once: bool = False
) -> Ahead:
    """The destination for a capture's packs: its attempt's folder, which sends them on when the spool fills."""
    others = [name for name in installation.destinations_of(source) if name != reference]

    def opened(name: str) -> Destination:
        return installation.repository(source, name, create=True).destination

    into = installation.spool_destination(source, attempt)
    quota = installation.settings.spool_quota
    return Ahead(into, installation.spool, quota, [reference, *others], open=opened, at_once=at_once)


def _reference(installation: Installation, source: str, chosen: str = "") -> tuple[str, Repository]:
    names = (chosen,) if chosen else installation.destinations_of(source)
    missed: list[str] = []
    refused: Refused | SettingsError | None = None
    for name in names:
        try:
            return name, installation.repository(source, name, create=True)
        except Unavailable as error:
            missed.append(f"`{name}`: {error}")
        except (Refused, SettingsError) as error:
            # Such as one that was emptied, or whose secret is not there: the others go on, and the upload to this one
            # tells what is wrong.
            refused = refused or error
    if refused and not missed:
        raise refused
    raise Unavailable(f"no destination of `{source}` can be reached; {'; '.join(missed)}")


def _outcome(snapshot: Snapshot) -> Outcome:
    grave = sorted(snapshot.flaws, key=lambda flaw: flaw.allowed)
    return Outcome(
        verb="backup",
        source=snapshot.source,
        run=snapshot.run,
        snapshot=snapshot.id,
        state="done" if snapshot.complete else "incomplete",
        figures=dict(snapshot.figures),
        flaws=tuple(_in_words(flaw.path, flaw.what, flaw.why) for flaw in grave[:100] if not flaw.allowed),
    )


def _in_words(path: str, what: str, why: str) -> str:
    shown = path_text(path.encode("utf-8", "surrogateescape"))
    return f"{shown} is {what}: {why}" if why else f"{shown} is {what}"

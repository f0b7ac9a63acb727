"""Everything a night needs, tried before the night: settings, keys, sources, destinations, spool, broker, workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from tasks.broker import broker_url, connect, is_embedded
from tasks.configuration import problems
from tasks.destinations.probe import probe
from tasks.errors import BackupError, NotARepository, SettingsError, WrongKey
from tasks.installation import PASSPHRASE, Installation
from tasks.record import Record
from tasks.repository.keys import keyring_of
from tasks.sources.source import Measured, Problem

_LEAST_SPOOL = 1 << 30
_SHRINKS = 8
"""So much smaller than it is on a server, at best, a database is in the spool."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `state`: *good*, *weak* (the night would run, but see to it) or *bad*."""

    what: str
    state: str
    says: str = ""
    advice: str = ""


def check(installation: Installation) -> Iterator[Finding]:
    """Try all of it; nothing is raised, and one failure hides no other."""
    settings = installation.settings
    yield from _found("settings", lambda: problems(settings), "no contradictions")
    yield from _tried("keys", lambda: _keys(installation))
    yield from _tried("passphrase", lambda: _passphrase(installation))
    yield from _tried("spool", lambda: _spool(installation))
    for name in settings.sources:
        yield from _found(f"source {name}", partial(_source, installation, name), "can be captured")
    for name in settings.destinations:
        yield from _tried(f"destination {name}", partial(_destination, installation, name))
    for name in settings.sources:
        for place in settings.destinations_of(name):
            yield from _tried(f"repository {name} at {place}", partial(_repository, installation, name, place))
    yield from _tried("broker", lambda: _broker(installation))


def _tried(what: str, attempt: Callable[[], str | Finding]) -> Iterator[Finding]:
    try:
        said = attempt()
    except BackupError as error:
        yield Finding(what, "bad", str(error))
        return
    yield said if isinstance(said, Finding) else Finding(what, "good", said)


def _found(what: str, attempt: Callable[[], Iterable[Problem]], otherwise: str) -> Iterator[Finding]:
    try:
        found = list(attempt())
    except BackupError as error:
        yield Finding(what, "bad", str(error))
        return
    for problem in found:
        yield Finding(what, "bad" if problem.fatal else "weak", problem.what, problem.advice)
    if not found:
        yield Finding(what, "good", otherwise)


def _keys(installation: Installation) -> str:
    writer, document = installation.writer_key(), installation.document()
    if keyring_of(document) != writer.keyring:
        raise WrongKey(
            f"`writer.key` belongs to keyring {writer.keyring}, `keyring.json` is {keyring_of(document)}: take both"
            " from the host where `init` made them"
        )
    file = installation.settings.keys.folder / "writer.key"
    if file.stat().st_mode & 0o077:
        raise SettingsError(f"`{file}` can be read by other users: `chmod 600 {file}`")
    return f"keyring {writer.keyring}"


def _passphrase(installation: Installation) -> str | Finding:
    if installation.settings.keys.passphrase is None and PASSPHRASE not in os.environ:
        return Finding(
            "passphrase",
            "weak",
            "this host can capture and upload, but not verify, prune or restore",
            "where these run, set `keys.passphrase` to `env:NAME` or `file:PATH`",
        )
    installation.reader_key()
    return "opens the private key"


def _spool(installation: Installation) -> str | Finding:
    folder = installation.spool.folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probing = folder / f".probe-{os.getpid()}"
        probing.write_bytes(b"x")
        probing.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise SettingsError(f"the spool `{folder}` can't be written to: {error.strerror}; see `state`") from error
    if free < _LEAST_SPOOL:
        advice = "free some space, or point `state` to a larger disk"
        return Finding("spool", "weak", f"only {free / 1e9:.1f} GB are free at `{folder}`", advice)
    return f"{free / 1e9:.0f} GB free"


def _source(installation: Installation, name: str) -> list[Problem]:
    source = installation.source(name)
    problems = source.check()
    if isinstance(source, Measured) and not any(problem.fatal for problem in problems):
        problems += _room(installation, source.measure())
    return problems


def _room(installation: Installation, size: int) -> list[Problem]:
    """Whether a first capture of so many bytes fits into the spool, whose quota is all it ever takes; later ones bring
    only what is new."""
    folder, quota = installation.spool.folder, installation.settings.spool_quota
    try:
        free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    except OSError:
        return []  # the spool's own check says what is wrong with it
    if free >= min(size, quota):
        return []
    advice = "free some space there, point `state` to a larger disk, or lower `spool_quota`"
    what = f"it holds {size / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free for the spool at `{folder}`"
    return [Problem(what, advice, fatal=free < min(size / _SHRINKS, quota))]


def _destination(installation: Installation, name: str) -> str:
    return ", ".join(probe(installation.destination(name)))


def _repository(installation: Installation, source: str, destination: str) -> str:
    try:
        repository = installation.repository(source, destination)
    except NotARepository:
        return "will be made by the first backup"
    return f"{len(repository.snapshot_ids())} snapshots"


def _broker(installation: Installation) -> str | Finding:
    if is_embedded(installation.settings):
        return "embedded: `serve` and `run` start it"
    Record(connect(broker_url(installation.settings), patient=False)).runs(1)
    return "answers"

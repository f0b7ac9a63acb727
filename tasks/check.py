"""Everything a night needs, tried before the night: settings, keys, sources, destinations, spool, broker, workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from tasks.broker import broker_url, connect, evicting, is_embedded
from tasks.configuration import problems
from tasks.destinations import open_destination
from tasks.destinations.probe import probe
from tasks.destinations.reach import skew
from tasks.destinations.remote import RemoteSettings
from tasks.destinations.rights import Role
from tasks.errors import BackupError, NotARepository, SettingsError, WrongKey
from tasks.installation import PASSPHRASE, Installation
from tasks.other_host import LOOKED_AT, other_host
from tasks.record import Record
from tasks.repository.keys import keyring_of
from tasks.room import free_at
from tasks.sources.source import Measured, Problem, Rehearsable

_LEAST_SPOOL = 1 << 30
_PATIENCE = timedelta(seconds=10)
_CLOCKS_DIFFER = timedelta(minutes=1)
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
    yield from _nobodys(installation)
    for name in settings.sources:
        yield from _found(f"source {name}", partial(_source, installation, name), "can be captured")
        if settings.sources[name].drill:
            yield from _drill(installation, name)
    broken = set()
    for name in settings.destinations:
        for finding in check_destination(installation, name):
            broken |= {name} if finding.state == "bad" else set()
            yield finding
    for name in settings.sources:
        for place in settings.destinations_of(name):
            if place in broken:
                continue
            yield from _tried(f"repository {name} at {place}", partial(_repository, installation, name, place))
    yield from _tried("broker", lambda: _broker(installation))


def _drill(installation: Installation, name: str) -> Iterator[Finding]:
    """Drills are for hosts that hold the passphrase; which of them this one is for is not known here."""
    made = installation.source(name)
    if isinstance(made, Rehearsable) and _may_have_passphrase(installation):
        try:
            made.rehearsing()
        except BackupError as error:
            yield Finding(f"drill {name}", "weak", str(error), "else start the pool `drill` on other hosts alone")


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


def _may_have_passphrase(installation: Installation) -> bool:
    return installation.settings.keys.passphrase is not None or PASSPHRASE in os.environ


def _passphrase(installation: Installation) -> str | Finding:
    if not _may_have_passphrase(installation):
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
        try:
            probing.write_bytes(b"x")
        finally:
            probing.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise SettingsError(f"the spool `{folder}` can't be written to: {error.strerror}; see `state`") from error
    if free < _LEAST_SPOOL:
        advice = "free some space, or point `state` to a larger disk"
        return Finding("spool", "weak", f"only {free / 1e9:.1f} GB are free at `{folder}`", advice)
    return f"{free / 1e9:.0f} GB free"


def _nobodys(installation: Installation) -> Iterator[Finding]:
    """What waits in the spool for sources that were removed from backup.toml since: no upload comes for it."""
    spool = installation.spool
    waiting = set[str]()
    with suppress(BackupError):  # what keeps the spool from being read is told already
        waiting = {sealed.source for sealed in spool.all_sealed()}
    for source in sorted(waiting - installation.settings.sources.keys()):
        says = f"`{spool.folder / source}` holds what waits to be uploaded of `{source}`, which is no source any more"
        advice = "have it in backup.toml until that is done, or remove the folder: it counts for `spool_quota`"
        yield Finding(f"spool of {source}", "weak", says, advice)


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
    free = free_at(folder)
    if free is None or free >= min(size, quota):  # where it can't be told, the spool's own check says why
        return []
    advice = "free some space there, point `state` to a larger disk, or lower `spool_quota`"
    what = f"it holds {size / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free for the spool at `{folder}`"
    return [Problem(what, advice, fatal=free < min(size / _SHRINKS, quota))]


def check_destination(installation: Installation, name: str, role: Role = "writer") -> Iterator[Finding]:
    """Whether a role can work there, with the credentials that this host has: is the service there, does it agree on
    the time, and does it let the role do what it needs. Nothing is waited for long. Raises `NotFound`."""
    what = f"destination {name}"
    settings = installation.destination_settings(name)
    worked: list[str] = []
    weak: list[Finding] = []
    try:
        if isinstance(settings, RemoteSettings):
            settings = settings.model_copy(
                update={
                    "deadline": min(settings.deadline, _PATIENCE),
                    "connect_timeout": min(settings.connect_timeout, _PATIENCE),
                    "read_timeout": min(settings.read_timeout, _PATIENCE),
                }
            )
            weak += _clock(what, skew(settings.address, settings.ca_file))
        for tried in probe(open_destination(settings), role):
            if tried.advice:
                weak.append(Finding(what, "weak", tried.says, tried.advice))
            else:
                worked.append(tried.says)
    except BackupError as error:
        yield Finding(what, "bad", f"{error}; before that: {', '.join(worked)}" if worked else str(error))
    else:
        yield Finding(what, "good", ", ".join(worked))
    yield from weak


def _clock(what: str, ahead: timedelta | None) -> Iterator[Finding]:
    if ahead is None or abs(ahead) < _CLOCKS_DIFFER:
        return
    yield Finding(
        what,
        "weak",
        f"this machine's clock is {_off(ahead)} the service's",
        "set it, for example with `timedatectl set-ntp true`: a service refuses what is some minutes off, and locks are"
        " set by it",
    )


def _off(ahead: timedelta) -> str:
    seconds = round(abs(ahead).total_seconds())
    span = f"{seconds // 60} min {seconds % 60} s" if seconds < 7200 else f"{seconds / 3600:.1f} h"
    return f"{span} {'ahead of' if ahead > timedelta(0) else 'behind'}"


def _repository(installation: Installation, source: str, destination: str) -> str | Finding:
    try:
        repository = installation.repository(source, destination)
    except NotARepository:
        return "will be made by the first backup"
    ids = repository.snapshot_ids()
    says = f"{len(ids)} snapshot{'s' * (len(ids) != 1)}"
    hosts = list[str]()
    for name in ids[-LOOKED_AT:]:
        with suppress(BackupError):  # a verify tells of one that can't be read
            hosts.append(repository.snapshot(name).host)
    if problem := other_host(installation.settings, hosts):
        what, advice = problem.split(": ", 1)
        return Finding(f"repository {source} at {destination}", "weak", f"{says}; {what}", advice)
    return says


def _broker(installation: Installation) -> str | Finding:
    if is_embedded(installation.settings):
        return "embedded: `serve` and `run` start it"
    client = connect(broker_url(installation.settings), patient=False)
    record = Record(client)
    record.runs(1)
    record.is_turn("check", 1)  # a full one, and a replica, answer and take nothing
    if policy := evicting(client):
        says = f"when its memory is full, it throws away messages and what it knows of runs (`{policy}`)"
        return Finding("broker", "weak", says, "set `maxmemory-policy noeviction` there")
    if abs(ahead := datetime.now(UTC) - record.now()) >= _CLOCKS_DIFFER:
        advice = "set the wrong one, for example with `timedatectl set-ntp true`: nights go by both"
        return Finding("broker", "weak", f"this machine's clock is {_off(ahead)} the broker's", advice)
    return "answers, and takes what is written"

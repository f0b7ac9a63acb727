"""The configured parts, put together: the one place that knows how settings become sources, destinations and keys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tasks.broker import broker_url, connect
from tasks.configuration import find, load
from tasks.destinations import Destination, Local, Overlay, Prefixed, open_destination
from tasks.errors import BackupError, NotARepository, NotFound, Refused, SettingsError
from tasks.record import Record, step_name
from tasks.repository import ReaderKey, Repository, WriterKey, open_keys
from tasks.sealed import Sealed
from tasks.settings import DestinationSettings, Settings
from tasks.sources.kinds import SOURCES
from tasks.sources.source import Source
from tasks.spool import Spool

PASSPHRASE = "GEOMETRA_BACKUP_PASSPHRASE"  # noqa: S105 - the name of a variable

T = TypeVar("T")


class Installation:
    """Everything is made when it is first asked for, once per process: a forked child makes its own connections, and
    never shares its parent's. Safe in threads. `passphrase` is for a person who typed one; workers find theirs by
    `keys.passphrase`, or in the environment where that is not set."""

    def __init__(self, settings: Settings, passphrase: str | None = None) -> None:
        self.settings = settings
        self._passphrase = passphrase
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._made: dict[Any, Any] = {}

    def source(self, name: str) -> Source:
        if name not in self.settings.sources:
            raise NotFound(f"there is no source `{name}`; known: {', '.join(self.settings.sources) or 'none'}")
        settings = self.settings.sources[name]
        source: Source = SOURCES[settings.kind](name, settings)
        return source

    def source_of(self, name: str, kind: str) -> Source:
        """For a snapshot of a source that was taken as that `kind`, of which it need not be any more: who puts it back
        knows its items, and the settings of another kind say nothing of it. Raises `NotFound`."""
        source = self.source(name)
        return source if source.kind == kind else unconfigured(name, kind)

    def destination(self, name: str, source: str | None = None) -> Destination:
        """A destination as it is, or the part of it that holds one source's repository. Raises `NotFound`."""
        settings = self.destination_settings(name)
        whole: Destination = self._once(("destination", name), lambda: open_destination(settings))
        return Prefixed(whole, f"{source}/") if source else whole

    def destination_settings(self, name: str) -> DestinationSettings:
        """Raises `NotFound`."""
        known = self.settings.destinations
        if name not in known:
            raise NotFound(f"there is no destination `{name}`; known: {', '.join(known) or 'none'}")
        return known[name]

    def destinations_of(self, source: str) -> tuple[str, ...]:
        """The names of a source's destinations; the first is the one it is deduplicated against."""
        self.source(source)
        return self.settings.destinations_of(source)

    def repository(
        self, source: str, destination: str, *, reader: bool = False, create: bool = False, history: str = ""
    ) -> Repository:
        """A source's history at a destination. `reader`: with the private key, for who verifies, prunes or restores.
        One that is created is begun as `history`; without that, as it was at another destination, where the source may
        have had another name. Raises `NotARepository` where none was ever made, as far as this host knows."""
        keys = self.reader_key() if reader else self.writer_key()
        at = self.destination(destination, source)
        cache = self._cache(source, destination)
        # One that had a repository and has none is another disk, or an emptied one: not to go on with.
        new = not _is_there(cache)
        try:
            if create:
                begun = history or (self._begun_as(source, destination) if new else source)
                found = Repository.create_or_open(at, begun, keys, self.document(), cache=cache, begin=new)
            else:
                found = Repository.open(at, keys, cache=cache)
        except NotARepository:
            if new:
                raise
            raise Refused(
                f"`{destination}` held backups of `{source}` and holds none now: is another disk mounted there? To"
                f" begin anew on it, remove `{cache}`"
            ) from None
        return self._of(source, destination, found)

    def _begun_as(self, source: str, destination: str) -> str:
        """Snapshots are sealed for the name that their source had when its history began: a copy has to keep it. Of the
        other destinations those are asked that this host knows to have it: a new one may take minutes to answer."""
        for name in self.destinations_of(source):
            if name != destination and _is_there(self._cache(source, name)):
                with suppress(BackupError):
                    return self.repository(source, name).source
        return source

    def _cache(self, source: str, destination: str) -> Path:
        return self.settings.state / "cache" / destination / source

    def _of(self, source: str, destination: str, found: Repository) -> Repository:
        """Raises `Refused` where it is another source's: its objects say so, and open, wherever somebody moves them.
        That of a source which is not configured any more is let pass: this one may be it, under a new name."""
        if found.source != source and found.source in self.settings.sources:
            raise Refused(
                f"`{source}/` at `{destination}` holds the backups of `{found.source}`: somebody has moved or swapped"
                " folders there; put each back under the name of its source"
            )
        return found

    def spooled(self, sealed: Sealed, over: str = "") -> Repository:
        """The repository as it will be once that capture is uploaded: the spool laid over the capture's reference, or
        over another destination that may have as much of what it relies on."""
        place = over or sealed.reference
        below = self.destination(place, sealed.source)
        spooled = Overlay(self.spool_destination(sealed.source, sealed.folder), below)
        # One that was made: that it is there says that the destination has a repository.
        cache = self._cache(sealed.source, place)
        found = Repository.open(spooled, self.writer_key(), cache if _is_there(cache) else None)
        return self._of(sealed.source, place, found)

    def spool_destination(self, source: str, attempt: Path) -> Destination:
        """The part of an attempt's folder that mirrors the source's repository."""
        return Prefixed(Local(Local.Settings(path=attempt)), f"{source}/")

    def document(self) -> bytes:
        """The keyring's document: public, stored at every destination."""
        made: bytes = self._once("document", lambda: self._key_file("keyring.json"))
        return made

    def writer_key(self) -> WriterKey:
        """What a worker that backs up holds: it seals and names, and can't read old backups."""
        return self._once(
            "writer", lambda: WriterKey.from_text(self._key_file("writer.key").decode("utf-8", "replace"))
        )

    def reader_key(self) -> ReaderKey:
        """The private key, opened by the passphrase: takes a good part of a second the first time in a process."""
        return self._once("reader", lambda: open_keys(self.document(), passphrase=self._secret()))

    @property
    def spool(self) -> Spool:
        return Spool(self.settings.state / "spool")

    @property
    def locks(self) -> Path:
        """Where the processes of this host show that they live."""
        return self.settings.state / "locks"

    def tidy_spool(self) -> None:
        """Remove from this host's spool what killed captures left and nobody will come back to, such as those that
        another host has done meanwhile. Raises `Unavailable`."""
        record = self.record
        self.spool.collect(
            is_over=lambda source, run: (
                record.outcome(run, step_name("backup", source)) is not None or record.has_report(run)
            )
        )

    @property
    def reports(self) -> Path:
        return self.settings.state / "reports"

    @property
    def record(self) -> Record:
        return self._once("record", lambda: Record(connect(broker_url(self.settings))))

    def _secret(self) -> str:
        if self._passphrase is not None:
            return self._passphrase
        if self.settings.keys.passphrase is not None:
            return self.settings.keys.passphrase.read()
        if PASSPHRASE in os.environ:
            return os.environ[PASSPHRASE]
        raise SettingsError(
            f"verifying, pruning and restoring need the passphrase: set `keys.passphrase` to `env:{PASSPHRASE}`"
            " or `file:/path/of/a/file`"
        )

    def _key_file(self, name: str) -> bytes:
        path = self.settings.keys.folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise SettingsError(
                f"`{path}` is missing: `geometra-backup init` beside backup.toml makes it, or copy it from another host"
            ) from error
        except OSError as error:
            raise SettingsError(f"`{path}` can't be read: {error.strerror}") from error

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if self._process != os.getpid():
            # A lock that another thread held at the fork would stay locked for ever.
            self._lock, self._made, self._process = threading.RLock(), {}, os.getpid()
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            made: T = self._made[key]
            return made


def check_same_history(here: Repository, to: Repository, source: str, destination: str) -> None:
    """What was sealed for one name opens for no other. Raises `Refused`."""
    if here.source != to.source:
        raise Refused(
            f"`{source}/` at `{destination}` was begun as `{to.source}`, and what is to be brought there as"
            f" `{here.source}`, its source's former name: move that folder away, and it is begun as that"
        )


def unconfigured(name: str, kind: str) -> Source:
    """A source that can only put back. Raises `NotFound` for a kind of a newer version."""
    if kind not in SOURCES:
        raise NotFound(f"this version knows no sources of kind `{kind}`: upgrade first")
    source: Source = SOURCES[kind](name, SOURCES[kind].Settings.model_construct(kind=kind))
    return source


def _is_there(folder: Path) -> bool:
    """Also where it can't be told: what may have been here is not begun anew."""
    try:
        folder.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


_current: dict[str, Installation] = {}


def current() -> Installation:
    """The installation of this process's configuration, which the environment names; for tasks, which get no settings.
    Read once: workers are restarted after a change."""
    path = os.path.abspath(find())
    if path not in _current:
        _current[path] = Installation(load(Path(path)))
    return _current[path]

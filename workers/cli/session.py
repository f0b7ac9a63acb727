"""What a command works with: the settings, the installation, and a passphrase asked for only where one is needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import structlog

from tasks.configuration import VARIABLE, find, load
from tasks.errors import BackupError, NotARepository, NotFound, Unavailable
from tasks.installation import PASSPHRASE, Installation
from tasks.memory import keep_freed_memory
from tasks.moments import Moment, parse
from tasks.repository import Repository, Snapshot, is_ahead
from tasks.settings import Settings
from workers.cli import screen
from workers.cli.newest import place_of
from workers.cli.place import Place, ask_passphrase, read_sheet
from workers.outdated import outdated


class Session:
    """Made once for each command; everything is looked up when it is first used."""

    def __init__(self, config: Path | None, as_json: bool) -> None:
        keep_freed_memory()
        # What a person should see is printed; what workers log, they log themselves.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self.named = config
        """The backup.toml of `--config`."""
        self.as_json = as_json
        self.address: str | None = None
        """Of a place that was named by `--from`: then no settings are looked for."""
        self.exit_code = 0
        self.sheet: Path | None = None

    @cached_property
    def file(self) -> Path:
        file = find(self.named).absolute()
        # Celery's settings are made when its app is imported, from the configuration that the environment names.
        os.environ[VARIABLE] = str(file)
        return file

    @cached_property
    def settings(self) -> Settings:
        return load(self.file)

    @cached_property
    def installation(self) -> Installation:
        """Reads and captures: needs no passphrase."""
        return Installation(self.settings)

    @cached_property
    def reader(self) -> Installation:
        """Opens contents: the passphrase comes from the settings or the environment, else from the terminal."""
        return Installation(self.settings, self.passphrase())

    @cached_property
    def place(self) -> Place | None:
        if self.address is None:
            return None
        return Place(self.address, sheet=read_sheet(self.sheet) if self.sheet else None)

    @property
    def zone(self) -> ZoneInfo:
        """In which times are typed."""
        return ZoneInfo("UTC" if self.address is not None else self.settings.timezone)

    def moment(self, typed: str, now: datetime) -> Moment:
        """Raises `UsageError` for what is no time, with what to type instead."""
        zone = self.zone
        try:
            return parse(typed, zone, now)
        except NotFound as error:
            raise click.UsageError(str(error)) from error

    def passphrase(self) -> str | None:
        """What was typed; None where the settings or the environment have it, or nobody is there to ask."""
        if self.settings.keys.passphrase is not None or PASSPHRASE in os.environ:
            return None
        return ask_passphrase()

    def tell_of_outdated(self) -> None:
        """On standard error, where processes of this host go by another backup.toml than is there now."""
        if older := outdated(self.settings):
            screen.errors.print(f"{older.says}: {older.advice}", style="yellow", markup=False, soft_wrap=True)

    def sources(self, named: str | None) -> list[str]:
        """The source that was named, or all. Raises `NotFound`."""
        if named is None:
            return list(self.settings.sources)
        self.installation.source(named)
        return [named]

    def destinations(self, source: str, named: str | None) -> list[str]:
        names = list(self.installation.destinations_of(source))
        if named is None:
            return names
        if named not in names:
            raise NotFound(f"`{named}` is no destination of `{source}`: it has {', '.join(names)}")
        return [named]

    def pairs(self, source: str | None, destination: str | None) -> list[tuple[str, str]]:
        """Source and destination, of the source that was named, or of all of those that go to that destination, if one
        was named. Raises `NotFound`."""
        if source is not None or destination is None:
            return [(name, place) for name in self.sources(source) for place in self.destinations(name, destination)]
        self.installation.destination_settings(destination)
        going = [name for name in self.settings.sources if destination in self.settings.destinations_of(name)]
        if not going:
            raise NotFound(f"no source goes to `{destination}`: `destinations` of each source says where it goes")
        return [(name, destination) for name in going]

    def repositories(self, source: str | None, destination: str | None) -> Iterator[tuple[str, str, Repository]]:
        """Source, destination and repository of all that were ever uploaded to. What can't be opened is left out, told
        on standard error, and makes the `exit_code`; where nothing can be, an error is raised."""
        if self.place is not None:
            for name in [source] if source else self.place.sources():
                yield name, self.place.address, self.place.repository(name)
            return
        failed, opened = dict[str, BackupError](), False
        for name, place in self.pairs(source, destination):
            if place in failed:
                continue  # each of its sources would wait for it as long again
            try:
                repository = self.installation.repository(name, place)
            except NotARepository:
                continue
            except BackupError as error:
                failed[place if isinstance(error, Unavailable) else f"{name} at {place}"] = error
                continue
            opened = True
            yield name, place, repository
        if failed and not opened:
            raise next(iter(failed.values()))
        for what, why in failed.items():
            screen.errors.print(f"Left out: {what}: {why}", style="yellow", markup=False, soft_wrap=True)
            self.exit_code = self.exit_code or why.exit_code

    def repository(self, source: str, destination: str | None, *, reader: bool = False) -> tuple[str, Repository]:
        """The first destination of a source that answers and has a repository. Raises the last one's error, but that
        nothing was ever uploaded there only where that is all."""
        if self.place is not None:
            return self.place.address, self.place.repository(source)
        failed = list[BackupError]()
        installation = self.reader if reader else self.installation
        for place in self.destinations(source, destination):
            try:
                return place, installation.repository(source, place, reader=reader)
            except BackupError as error:
                failed.append(error)
        raise next((error for error in reversed(failed) if not isinstance(error, NotARepository)), failed[-1])

    def holding(self, source: str, destination: str | None, wanted: str) -> tuple[str, Repository]:
        """As `repository` has it; of a snapshot that is named by its id, the first that holds it."""
        if self.place is None and destination is None and wanted != "latest":
            destination = place_of(self.installation, source, wanted, reader=False)
        return self.repository(source, destination)


def chosen(repository: Repository, wanted: str) -> Snapshot:
    """A snapshot by its id, the beginning of its id, or `latest`. Raises `NotFound`."""
    ids = repository.snapshot_ids()
    if wanted == "latest":
        snapshots = repository.readable_snapshots()
        if not snapshots:
            raise NotFound(f"`{repository.source}` has no snapshot here yet: `geometra-backup run` takes one")
        _tell_of_those_ahead(snapshots, datetime.now(UTC))
        return snapshots[-1]
    matching = [name for name in ids if name.startswith(wanted)] if wanted else []
    if len(matching) > 1:
        raise NotFound(f"`{wanted}` begins the ids of {len(matching)} snapshots: {', '.join(matching[:5])}")
    return repository.snapshot(matching[0] if matching else wanted)


def _tell_of_those_ahead(snapshots: list[Snapshot], now: datetime) -> None:
    """It may be this machine's clock that is wrong, and then another snapshot than is meant."""
    ahead = [each.id for each in snapshots if is_ahead(each.started, now)]
    if ahead and snapshots[-1].id != ahead[-1]:
        screen.errors.print(
            f"`{ahead[-1]}` is dated ahead, so `{snapshots[-1].id}` counts as the newest: was that host's clock wrong,"
            " or is this one's? To mean the other, name it.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )

"""backup.toml -> `Settings`: where the file is, how its tables meet the kinds' own options, every fault at once."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tasks.configuration.complaint import complaints, kind_of, meant
from tasks.configuration.document import Document, Fault, Key
from tasks.configuration.kinds import destination_kinds, source_kinds
from tasks.destinations.immutable import LEFT
from tasks.errors import SettingsError
from tasks.model import Model
from tasks.secret import Secret
from tasks.settings import DestinationSettings, Settings, SourceSettings
from tasks.values import in_short

VARIABLE = "GEOMETRA_BACKUP_CONFIG"
FILE = "backup.toml"
SYSTEM = Path("/etc/geometra-backup") / FILE

K = TypeVar("K", SourceSettings, DestinationSettings)


def find(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """The backup.toml to use: the one named, else `$GEOMETRA_BACKUP_CONFIG`, else in the current folder, else in
    /etc/geometra-backup. Raises `SettingsError` that says where it looked."""
    named = (os.environ if environ is None else environ).get(VARIABLE)
    if path is not None:
        places, origin = [path], ""
    elif named:
        places, origin = [Path(named)], f" (from {VARIABLE})"
    else:
        places, origin = [Path(FILE), SYSTEM], ""
    for place in places:
        if os.path.lexists(place):
            return place
    looked = " and ".join(f"`{place.absolute()}`" for place in places)
    raise SettingsError(
        f"there is no {FILE} at {looked}{origin}; `geometra-backup init` writes one, {VARIABLE} can name another,"
        " and what is stored is looked at and restored without any by `--from PLACE`"
    )


def load(
    path: Path | None = None,
    *,
    sources: Mapping[str, type[SourceSettings]] | None = None,
    destinations: Mapping[str, type[DestinationSettings]] | None = None,
) -> Settings:
    """The settings, with absolute paths. Raises `SettingsError`: one line for everything that is wrong in the file."""
    found = find(path)
    try:
        text = found.read_bytes().decode("utf-8")
    except OSError as error:
        raise SettingsError(f"`{found}` can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"`{found}` is not text in UTF-8; save it as UTF-8") from error
    return parse(text, found, sources=sources, destinations=destinations)


def parse(
    text: str,
    path: Path = Path(FILE),
    *,
    sources: Mapping[str, type[SourceSettings]] | None = None,
    destinations: Mapping[str, type[DestinationSettings]] | None = None,
) -> Settings:
    """As `load`, of a text that lies, or is about to lie, at `path`."""
    document = Document(text)
    faults = [*document.faults]
    settings: Settings | None = None
    if document.data or not faults:
        reading = _Reading(document)
        settings = reading.settings(
            source_kinds() if sources is None else sources,
            destination_kinds() if destinations is None else destinations,
            path.absolute().parent,
        )
        faults += reading.faults
    if faults or settings is None:
        ordered = sorted(set(faults), key=lambda fault: (fault.line, [str(part) for part in fault.key]))
        raise SettingsError("\n".join(_line(path, fault) for fault in ordered))
    return settings


class _Reading:
    """One pass over a document, which collects faults instead of stopping at the first."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.faults: list[Fault] = []

    def settings(
        self,
        sources: Mapping[str, type[SourceSettings]],
        destinations: Mapping[str, type[DestinationSettings]],
        folder: Path,
    ) -> Settings | None:
        data = self._document.data
        self._check_names("sources", "destinations")
        self._check_names("plans", "sources")
        values = {
            **data,
            "sources": dict(self._tables("sources", sources, SourceSettings)),
            "destinations": dict(self._tables("destinations", destinations, DestinationSettings)),
        }
        settings: Settings | None = None
        try:
            settings = Settings.model_validate(values)
        except ValidationError as error:
            for key, what in complaints(error, Settings, (), values):
                self._fault(key, what)
        if settings is None:
            return None
        for name, destination in settings.destinations.items():
            self._check_term(name, getattr(destination, "immutable_days", None), settings.grace)
        anchored: Settings = self._anchored(settings, folder, ())
        return anchored

    def _fault(self, key: Key, what: str) -> None:
        if isinstance(key[-1], int) and any(fault.key == key for fault in self.faults):
            return  # a name that is unknown need not be told to be misspelt too
        self.faults.append(Fault(self._document.line(key), key, what))

    def _tables(self, noun: str, kinds: Mapping[str, type[K]], base: type[K]) -> Iterator[tuple[str, K]]:
        """The tables of sources or destinations, each read by the class of its kind."""
        tables = self._document.data.get(noun, {})
        if not isinstance(tables, dict):
            self._fault((noun,), f"must be tables with names, such as `[{noun}.NAME]`, not {kind_of(tables)}")
            return
        if not tables:
            self._fault((noun,), f"there are none; add a table such as `[{noun}.NAME]` with a `kind`")
        for name, table in tables.items():
            key: Key = (noun, name)
            # Stands for one that can't be read, so that its name is still checked and known.
            settings = base(kind="unknown")
            if not isinstance(table, dict):
                self._fault(key, f"must be a table, `[{noun}.NAME]` with its options below, not {kind_of(table)}")
            elif "kind" not in table:
                self._fault(key, f"`kind` is missing; it is one of {_listed(kinds)}")
            elif not isinstance(table["kind"], str) or table["kind"] not in kinds:
                self._fault(
                    (*key, "kind"), f"there is no such kind of {noun.removesuffix('s')}{meant(table['kind'], kinds)}"
                )
            else:
                model: type[K] = kinds[table["kind"]]
                try:
                    settings = model.model_validate(table)
                except ValidationError as error:
                    for place, what in complaints(error, model, key, table):
                        self._fault(place, what)
            yield name, settings

    def _check_names(self, users: str, used: str) -> None:
        """Every name of a `used` that a table of `users` lists is one that the file defines."""
        tables, known = self._document.data.get(users), self._document.data.get(used)
        for user, table in tables.items() if isinstance(tables, dict) else ():
            names = table.get(used) if isinstance(table, dict) else None
            for place, name in enumerate(names if isinstance(names, list) else ()):
                key = (users, user, used, place)
                if isinstance(known, dict) and isinstance(name, str) and name not in known:
                    self._fault(key, f"there is no {used.removesuffix('s')} `{name}`{meant(name, known)}")
                elif isinstance(names, list) and name in names[:place]:
                    self._fault(key, f"`{name}` is named twice; once is enough")

    def _check_term(self, name: str, days: int | None, grace: timedelta) -> None:
        """What a prune condemned may still be relied on until `grace` is over: until then its lock has to last, of
        which three quarters are always left."""
        least = math.ceil((grace + timedelta(days=1)) / timedelta(days=1) / LEFT)
        if days is not None and days < least:
            self._fault(
                ("destinations", name, "immutable_days"),
                f"must be at least {least}: a lock has to outlast `grace` ({in_short(grace)}) by a day, when a quarter"
                " of it is over",
            )

    def _anchored(self, value: Any, folder: Path, key: Key) -> Any:
        """The same with every path in it absolute, wherever a kind has one, and `~` resolved."""
        if isinstance(value, Secret):
            return value if value.file is None else Secret(reference=f"file:{self._anchored(value.file, folder, key)}")
        if isinstance(value, Model):
            values = {name: getattr(value, name) for name in type(value).model_fields}
            anchored = {name: self._anchored(inner, folder, (*key, name)) for name, inner in values.items()}
            # Only what changes: `model_fields_set` goes on telling what the file itself says.
            return value.model_copy(update={name: inner for name, inner in anchored.items() if inner != values[name]})
        if isinstance(value, dict):
            return {name: self._anchored(inner, folder, (*key, name)) for name, inner in value.items()}
        if isinstance(value, (tuple, list, frozenset)) and not hasattr(value, "_fields"):
            return type(value)(self._anchored(inner, folder, key) for inner in value)
        if isinstance(value, Path):
            try:
                if "\0" in str(value):
                    raise RuntimeError("a path can't hold the character NUL")
                return folder / value.expanduser()
            except RuntimeError as error:
                self._fault(key, f"{error}".rstrip(".") + "; write the whole path")
        return value


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _line(path: Path, fault: Fault) -> str:
    """`backup.toml, line 12, sources.models.pathz: unknown key; did you mean `paths`?`, without line breaks."""
    key = ""
    for part in fault.key:
        bare = isinstance(part, int) or re.fullmatch(r"[A-Za-z0-9_-]+", part)
        key += f"[{part}]" if isinstance(part, int) else f".{part if bare else json.dumps(part)}"
    place = [str(path), *([f"line {fault.line}"] if fault.line else []), *([key[1:]] if key else [])]
    line = f"{', '.join(place)}: {fault.what}"
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in line)

"""The backup.toml that `init` writes: what was found, with every option explained by the text of its own model."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from tasks import cron
from tasks.clock import changes
from tasks.configuration.kinds import destination_kinds, source_kinds
from tasks.configuration.problems import delays
from tasks.configuration.reference import WIDTH, Option, about, options, toml
from tasks.discovery import Found, Recognised
from tasks.settings import Keep, KeysSettings, PlanSettings, Settings, SourceSettings

OWN = (".geometra-backup", "keys", "backups")
"""What this program keeps beside backup.toml by default; no source takes it."""

_ADDRESSES = {"redis": "redis://{}", "postgres": "postgresql://postgres@{}/postgres", "chroma": "http://{}"}
"""The URL of a server that was found, by the kind of source that captures it."""


def render(
    found: Found,
    *,
    destination: Path = Path("backups"),
    passphrase: str | None = None,
    now: datetime | None = None,
) -> str:
    """The text of a backup.toml for `found.folder`. It loads without a fault. `destination` is a local folder;
    `passphrase` a reference, `env:NAME` or `file:PATH`."""
    now = now or datetime.now(UTC)
    page = _Page()
    page.comment(
        "Geometra backup: what is backed up, where to, when, and how long it is kept. Written by `geometra-backup init`"
        f" on {now.astimezone(ZoneInfo(found.timezone)):%Y-%m-%d} from what it found. Options that are commented out"
        f" show their default. Relative paths start at this file's folder. After a change: `geometra-backup check`, and"
        " restart `serve`, or the workers, beat and Flower, which read it when they begin."
    )
    page.options(Settings, {"host": found.host, "timezone": found.timezone})
    page.table("keys", about(KeysSettings))
    page.options(KeysSettings, {"passphrase": passphrase} if passphrase else {})
    page.table(
        "destinations.local",
        "Where the backups are stored. A folder on the same disk helps against mistakes, not against a lost disk or"
        " machine: point this one at another disk or a share, or add a second.",
    )
    page.options(destination_kinds()["local"], {"path": destination}, kind="local")
    _sources(page, found, source_kinds(), destination)
    page.table("plans.nightly", about(PlanSettings))
    page.options(PlanSettings, {"schedule": _schedule(ZoneInfo(found.timezone), now)})
    page.table("plans.nightly.keep", about(Keep))
    page.options(Keep, {name: getattr(Keep(), name) for name in Keep.model_fields})
    return page.text()


def _sources(page: _Page, found: Found, kinds: Mapping[str, type[SourceSettings]], destination: Path) -> None:
    recognised = [one for one in found.recognised if one.kind in kinds]
    services = [one for one in found.services if one.kind in kinds]
    if not recognised and not services:
        page.comment("Nothing here was recognised, so all of this folder is taken; name folders instead.", gap=True)
        recognised = [Recognised("docs", (found.folder,))]
    names: set[str] = set()
    for one in recognised:
        name = _free(names, one.kind.replace("_", "-"))
        page.table(f"sources.{name}", about(kinds[one.kind]))
        page.options(kinds[one.kind], _values(one, kinds[one.kind], found.folder, destination), kind=one.kind)
    for service in services:
        page.table(f"sources.{_free(names, service.kind)}", about(kinds[service.kind]))
        values = {"url": _ADDRESSES[service.kind].format(service.address)}
        page.options(kinds[service.kind], values, kind=service.kind)
    page.gap()
    here = {one.kind for one in recognised} | {one.kind for one in services}
    if missing := [kind for kind in kinds if kind not in here]:
        kinds_left = ", ".join(missing)
        page.comment(f"Kinds that nothing here was found for: {kinds_left}. `geometra-backup options` explains them.")
    if found.cut_short:
        page.comment("There was more than a few seconds' look could take in: add what is missing.")


def _values(one: Recognised, model: type[SourceSettings], folder: Path, destination: Path) -> dict[str, object]:
    """What a source is set to: its path or paths, by the name its kind has for them, and patterns of what no backup is
    for."""
    if "path" in model.model_fields:
        return {"path": _written(one.paths[0], folder)}
    values: dict[str, object] = {_needed(model): _with_names(one.paths, folder)}
    if "exclude" in model.model_fields and (own := list(_own(one.paths, folder, destination))):
        values["exclude"] = own
    return values


def _needed(model: type[SourceSettings]) -> str:
    return next(option.name for option in options(model) if option.needed)


def _with_names(paths: Iterable[Path], folder: Path) -> list[object]:
    """Each path; where two would have the same name in a snapshot, the later with another."""
    taken: set[str] = set()
    written: list[object] = []
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        name = path.name or "root"
        if name in taken or not path.name:
            name = _free(taken, "-".join(path.relative_to(path.anchor).parts[-2:]) or "root")
            written.append({"path": _written(path, folder), "name": name})
        else:
            written.append(_written(path, folder))
        taken.add(name)
    return written


def _own(paths: Iterable[Path], folder: Path, destination: Path) -> Iterator[str]:
    own = [folder / name for name in OWN[:2]] + [folder / destination]
    for path in paths:
        for inner in own:
            if inner.is_relative_to(path) and inner != path:
                yield f"/{_escaped(inner.relative_to(path).as_posix())}/"


def _escaped(path: str) -> str:
    """As a pattern in .gitignore style that means just this path."""
    return re.sub(r"([\\*?\[\]!#])", r"\\\1", path)


def _written(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _free(taken: set[str], name: str) -> str:
    """The name, or with the first number that makes it free; taken from then on."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free


def _schedule(zone: ZoneInfo, now: datetime) -> str:
    """A quiet hour of the night, and one that the zone's clocks never skip."""
    near = list(changes(zone, now, now + timedelta(days=400)))
    for hour in (1, 3, 4, 5):
        schedule = f"30 {hour} * * *"
        if not any(delays(cron.parse(schedule), change) for change in near):
            return schedule
    return "30 12 * * *"


class _Page:
    """A TOML file in the making: comments, tables, and options with their explanation, each said once."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._said: set[Option] = set()

    def text(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self._lines)).strip("\n") + "\n"

    def gap(self) -> None:
        self._lines.append("")

    def comment(self, text: str, gap: bool = False) -> None:
        if gap:
            self.gap()
        self._lines += textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)

    def table(self, name: str, text: str) -> None:
        self.comment(text, gap=True)
        self._lines.append(f"[{name}]")

    def options(self, model: type[BaseModel], values: Mapping[str, object], kind: str = "") -> None:
        """All options of a model: those with a value as they are, the others as a comment with their default; where
        they were explained before, only their names."""
        every, again = options(model), []
        if kind:
            self._lines.append(f"kind = {toml(kind)}")
            every.sort(key=lambda option: option.name not in values)
        for option in every:
            if option in self._said and option.name not in values:
                again.append(option.name)
                continue
            if option not in self._said:
                self.gap()
                self.comment(f"{option.text} ({option.what})" if option.text else option.what)
            self._said.add(option)
            self._option(option, values)
        if again:
            self.comment(f"As above: {', '.join(again)}")

    def _option(self, option: Option, values: Mapping[str, object]) -> None:
        if option.name in values:
            self._lines.append(f"{option.name} = {toml(values[option.name])}")
        else:
            default = f"{option.name} = {option.default or option.example or '...'}"
            self._lines += textwrap.wrap(default, WIDTH, initial_indent="# ", subsequent_indent="#     ")

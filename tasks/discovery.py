"""What `init` finds on a machine: folders that look like Geometra's, git repositories, services on loopback."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tzlocal import get_localzone_name

CONFIG, LOGS, MODELS, SOURCE_CODE, DOCS, TEST_DATA = "config", "logs", "models", "source_code", "docs", "test_data"
CHROMA = "chroma"
"""The kinds of sources that are recognised, named as in backup.toml."""

FOLDERS = {
    CONFIG: {"config", "configs", "configuration", "conf", "etc", "settings"},
    LOGS: {"log", "logs"},
    MODELS: {"model", "models", "weights", "checkpoints"},
    DOCS: {"doc", "docs", "documentation"},
    TEST_DATA: {"test_data", "testdata", "test-data", "fixtures"},
}
_OF_TESTS = {"data", "samples"}
_MODEL = re.compile(r".+\.(safetensors|gguf|ggml|pt|pth|onnx|ckpt|h5|keras|tflite)$", re.IGNORECASE)
_BIG = re.compile(r".+\.(bin|pkl|npz|npy)$", re.IGNORECASE)
_BIG_BYTES = 10_000_000
_LOG = re.compile(r".+\.log(\.\d+|-\d+)?(\.(gz|xz|zst|bz2))?$", re.IGNORECASE)
_CONFIG = re.compile(r"(\.env(\..+)?|.+\.(toml|ya?ml|ini|cfg|conf|env)|docker-compose.*|Caddyfile)$", re.IGNORECASE)
_CODE = re.compile(r".+\.(py|js|ts|go|rs|c|cc|cpp|java)$", re.IGNORECASE)
_PROJECT = {"pyproject.toml", "Cargo.toml", "backup.toml", "mkdocs.yml", "tox.ini", "setup.cfg", "pytest.ini"}
_CHROMAS = "chroma.sqlite3"
_SEGMENT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A folder of an index beside it: no models, and written while it is read."""
_NOT_ENTERED = {"node_modules", "__pycache__", "site-packages", "venv", "build", "dist", "target", "keys", "backups"}
_DEPTH = 4
_ENTRIES = 50_000
_SECONDS = 3.0
_ANSWER_SECONDS = 0.3

USUAL = (
    (Path("/etc"), CONFIG),
    (Path("/var/log"), LOGS),
    (Path("/var/lib"), ""),
    (Path("/opt"), ""),
    (Path("/srv"), ""),
)
"""Where a folder named geometra... may lie beside the current one, and the kind that it has there; "": look inside."""

SERVICES = {"redis": 6379, "postgres": 5432, CHROMA: 8000}


@dataclass(frozen=True)
class Recognised:
    """One thing to back up: the kind of source that fits, and the folders or files."""

    kind: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Service:
    """A server that answers on loopback, by the name of the kind that would back it up."""

    kind: str
    address: str


@dataclass(frozen=True)
class Found:
    """What a backup.toml can be written from. `cut_short`: there was more than could be looked at in a few seconds."""

    folder: Path
    host: str = "local"
    timezone: str = "UTC"
    recognised: tuple[Recognised, ...] = ()
    services: tuple[Service, ...] = ()
    cut_short: bool = False


def discover(
    folder: Path,
    *,
    usual: Sequence[tuple[Path, str]] = USUAL,
    services: Mapping[str, int] = SERVICES,
) -> Found:
    """Look, changing nothing, for a few seconds at most. Follows no link; what can't be read is passed over."""
    folder = folder.absolute()
    look = _Look()
    look.into(folder)
    for place, kind in usual:
        for path in _named_geometra(place):
            if folder.is_relative_to(path) or path.is_relative_to(folder):
                continue
            if kind:
                look.add(kind, path)
            else:
                look.into(path)
    return Found(
        folder,
        _host(),
        _timezone(),
        look.recognised(),
        tuple(Service(kind, f"127.0.0.1:{port}") for kind, port in services.items() if _answers(kind, port)),
        look.cut_short,
    )


@dataclass
class _Look:
    """One look round, which remembers what it found by kind and stops when it took too long."""

    cut_short: bool = False
    _found: dict[str, list[Path]] = field(default_factory=dict)
    _entries: int = 0
    _end: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    def add(self, kind: str, path: Path) -> None:
        self._found.setdefault(kind, []).append(path)

    def recognised(self) -> tuple[Recognised, ...]:
        """One source of each kind that was found, in a fixed order; of Chroma one for each folder."""
        # A repository inside another is one of its own; a folder inside another of its kind is not.
        kinds = {SOURCE_CODE: sorted(self._found.get(SOURCE_CODE, []))}
        kinds |= {kind: _outermost(self._found.get(kind, [])) for kind in (CONFIG, LOGS, MODELS, DOCS, TEST_DATA)}
        chromas = (Recognised(CHROMA, (path,)) for path in _outermost(self._found.get(CHROMA, [])))
        return (*chromas, *(Recognised(kind, tuple(paths)) for kind, paths in kinds.items() if paths))

    def into(self, folder: Path, depth: int = 0) -> None:
        folders, files = self._listed(folder)
        names = {file.name for file in files}
        bare = {"objects", "refs"} <= set(folders) and "HEAD" in names
        if bare or ".git" in folders or (".git" in names and _is_submodule(folder / ".git")):
            self.add(SOURCE_CODE, folder)
        if bare:
            return
        if _CHROMAS in names:
            self.add(CHROMA, folder)
            folders = [name for name in folders if not _SEGMENT.fullmatch(name)]
        self._files(folder, files, depth)
        for name in folders:
            kind = self._kind_of(folder, name)
            if kind:
                self.add(kind, folder / name)
            elif not name.startswith(".") and name not in _NOT_ENTERED and depth < _DEPTH:
                self.into(folder / name, depth + 1)

    def _files(self, folder: Path, files: list[os.DirEntry[str]], depth: int) -> None:
        models = [folder / file.name for file in files if _is_model(file)]
        if depth == 0 or any(_CODE.fullmatch(file.name) for file in files):
            self._found.setdefault(MODELS, []).extend(models)
        elif models:
            self.add(MODELS, folder)
        if depth and len(files) > 1 and all(_LOG.fullmatch(file.name) for file in files):
            self.add(LOGS, folder)
        if depth == 0:
            for file in files:
                if _CONFIG.fullmatch(file.name) and file.name not in _PROJECT:
                    self.add(CONFIG, folder / file.name)

    def _kind_of(self, folder: Path, name: str) -> str:
        """What a folder is by its name, if what is in it agrees: `models` may well hold code, not weights."""
        for kind, names in FOLDERS.items():
            if name.lower() in names:
                return kind if self._holds(folder / name, kind) else ""
        of_tests = name.lower() in _OF_TESTS and folder.name in ("test", "tests")
        return TEST_DATA if of_tests and self._holds(folder / name, TEST_DATA) else ""

    def _holds(self, folder: Path, kind: str, depth: int = 0) -> bool:
        folders, files = self._listed(folder)
        if kind == MODELS:
            found = any(_is_model(file) for file in files)
        elif kind == CONFIG:
            found = any(_CONFIG.fullmatch(file.name) or file.name.endswith((".json", ".xml")) for file in files)
        else:
            found = bool(files)
        return found or (depth < 2 and any(self._holds(folder / name, kind, depth + 1) for name in folders))

    def _listed(self, folder: Path) -> tuple[list[str], list[os.DirEntry[str]]]:
        """The names of the folders and the files in a folder, sorted; links are neither."""
        folders, files = [], []
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                self._entries += 1
                if self._entries > _ENTRIES or time.monotonic() > self._end:
                    self.cut_short = True
                    break
                if not _can_be_written(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry)
        return sorted(folders), sorted(files, key=lambda file: file.name)


def _can_be_written(name: str) -> bool:
    """backup.toml is UTF-8; a name of other bytes can't be in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_submodule(file: Path) -> bool:
    """True for the `.git` file of a submodule; that of a further working tree leads to a repository found elsewhere."""
    try:
        with file.open("rb") as link:
            return b"/modules/" in link.read(4096)
    except OSError:
        return False


def _is_model(file: os.DirEntry[str]) -> bool:
    return bool(_MODEL.fullmatch(file.name) or (_BIG.fullmatch(file.name) and _big(file)))


def _outermost(paths: list[Path]) -> list[Path]:
    chosen: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(above) for above in chosen):
            chosen.append(path)
    return chosen


def _big(file: os.DirEntry[str]) -> bool:
    try:
        return file.stat(follow_symlinks=False).st_size >= _BIG_BYTES
    except OSError:
        return False


def _named_geometra(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [place / name for name in sorted(names) if name.lower().startswith("geometra") and name != "geometra-backup"]


def _host() -> str:
    """This machine's name as a name in backup.toml may be."""
    name = re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-_")
    return name[:64] or "local"


def _timezone() -> str:
    try:
        name = get_localzone_name()
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, LookupError):
        return "UTC"
    return "UTC" if name in ("Etc/UTC", "Etc/GMT", "GMT") else name


_HELLO = {
    "redis": (b"*1\r\n$4\r\nPING\r\n", (b"+PONG", b"-NOAUTH", b"-DENIED", b"-LOADING", b"-MISCONF")),
    # An SSLRequest, https://www.postgresql.org/docs/current/protocol-message-formats.html; one letter answers it.
    "postgres": ((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"), (b"S", b"N")),
    "chroma": (b"GET /api/v2/heartbeat HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", (b"HTTP/1.",)),
}


def _answers(kind: str, port: int) -> bool:
    """True if something on loopback answers a hello as this kind of server does."""
    hello, welcome = _HELLO[kind]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_SECONDS) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.sendall(hello)
            answer = connection.recv(4096)
            end = time.monotonic() + _ANSWER_SECONDS
            while kind == "chroma" and b"nanosecond heartbeat" not in answer and time.monotonic() < end:
                more = connection.recv(4096)
                if not more:
                    break
                answer += more
    except OSError:
        return False
    if kind == "chroma":
        return b"nanosecond heartbeat" in answer
    return answer in welcome if kind == "postgres" else answer.startswith(welcome)

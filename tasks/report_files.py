"""Reports as files on a host, so that they can be read without a broker. Knows nothing of how one comes about."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeGuard

from tasks.errors import Refused, Unavailable
from tasks.run_keys import is_run

KEPT = 400
"""Report files that stay in the folder: more than a year of nights."""
_AHEAD_SECONDS = 3600.0
"""So far may the clock of the folder's disk be ahead of this host's. What is further ahead comes from a clock that was
wrong, and counts as the oldest: it would hide for as long what runs come to."""


def write(folder: Path, composed: Mapping[str, Any]) -> Path:
    """Keep a report as `<run>.json`, whole or not at all, so that it can be read without a broker."""
    path = folder / f"{composed['run']}.json"
    draft = folder / f".{composed['run']}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_text(json.dumps(composed, indent=1), encoding="utf-8")
        os.replace(draft, path)
        for old in _oldest_first(folder)[:-KEPT]:
            if old != path:
                with suppress(OSError):  # removed meanwhile, or none of ours
                    old.unlink()
    except OSError as error:
        raise Unavailable(
            f"the report can't be written to `{folder}`: {error.strerror}; `status` knows nothing of this run"
        ) from error
    return path


def read_reports(folder: Path, limit: int = 20) -> list[dict[str, Any]]:
    """The last reports that were written on this host, newest first; without a broker. Raises `Refused` where another
    user's are not to be seen: none at all would pass for none that failed."""
    try:
        paths = _oldest_first(folder)
    except PermissionError as error:
        raise Refused(
            f"not allowed to read the reports in `{folder}`: run this as the user who backs up here"
        ) from error
    return list(islice(_read(reversed(paths)), limit))


def _read(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        try:
            told = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue  # removed meanwhile, or not one of ours
        if _is_report(told):
            yield told


def _oldest_first(folder: Path) -> list[Path]:
    """By when they were written: a run may have an id of its caller's choice."""
    found, names, latest = [], list[str](), time.time() + _AHEAD_SECONDS
    with suppress(FileNotFoundError, NotADirectoryError):
        names = os.listdir(folder)
    for path in (folder / name for name in names if name.endswith(".json")):
        with suppress(OSError):  # removed meanwhile, or none of ours
            written = path.stat().st_mtime
            found.append((written if written <= latest else 0.0, path))
    return [path for _, path in sorted(found)]


def _is_report(told: object) -> TypeGuard[dict[str, Any]]:
    """Whether it has what a report has, as far as anybody reads it: the folder may hold files of others."""
    match told:
        case {
            "run": str(run), "plan": str(), "slot": str(), "state": str(), "seconds": int() | float(),
            "started": str(started), "finished": str(finished),
            "failures": list(failures), "missing": list(missing), "steps": dict(steps), **more,
        }:  # fmt: skip
            parts = more.get("parts", {})
            return (
                is_run(run)
                and _is_time(started)
                and _is_time(finished)
                and all(_has_texts(failure, "step", "message") for failure in failures)
                and all(isinstance(step, str) and "/" in step for step in missing)
                and isinstance(parts, dict)
                and all(_is_outcome(outcome) for outcome in chain(steps.values(), parts.values()))
            )
    return False


def _is_outcome(told: object) -> bool:
    match told:
        case {"state": "failed", "failure": failure} if not _has_texts(failure, "kind", "message"):
            return False
        case {"figures": dict(figures)} if all(isinstance(figure, int | float) for figure in figures.values()):
            return _has_texts(told, "verb", "source", "destination", "state")
    return False


def _has_texts(told: object, *names: str) -> bool:
    return isinstance(told, dict) and all(isinstance(told.get(name), str) for name in names)


def _is_time(text: str) -> bool:
    with suppress(ValueError):
        return datetime.fromisoformat(text).tzinfo is not None
    return False

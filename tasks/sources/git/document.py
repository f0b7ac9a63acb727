"""What a bundle can't say of a repository, kept beside it as `repository.json`.

Bytes are text in UTF-8, those that are none lone surrogates, as in Python's `surrogateescape`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tasks.errors import Damaged, NewerFormat
from tasks.sources.git.repository import SETTINGS, StashEntry
from tasks.sources.git.sections import BUNDLE, section

_FORMAT = 2
_ID = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_REFERENCE = re.compile(rb"refs(?:/(?!\.)[^\0-\x20\x7f~^:?*\[\\/]+)+")
_SETTING = re.compile(rf"core\.({SETTINGS})=[a-z0-9]*", re.IGNORECASE)
_WHO = re.compile(rb"[^\0\n>]* <[^\0\n>]*> \d+ [+-]\d{4}")


@dataclass(frozen=True, slots=True)
class Document:
    """`bundle` is False for a repository without a single object; `sections` come before it. Without `uncommitted`, a
    checkout is all there is to the working tree. `settings` are those that decide how a checkout writes files."""

    bare: bool
    object_format: str
    head: bytes
    symbolic: dict[bytes, bytes]
    stash: tuple[StashEntry, ...]
    partial: bool
    settings: tuple[str, ...]
    uncommitted: bool
    deleted: tuple[bytes, ...]
    bundle: bool
    sections: tuple[bytes, ...] = ()

    @property
    def bundles(self) -> tuple[bytes, ...]:
        """The names of all, in the order in which they are to be unpacked."""
        return (*self.sections, BUNDLE) if self.bundle else ()

    def to_bytes(self) -> bytes:
        plain = {
            "format": _FORMAT if self.sections else 1,
            "bare": self.bare,
            "object_format": self.object_format,
            "head": _text(self.head),
            "symbolic": {_text(name): _text(target) for name, target in sorted(self.symbolic.items())},
            "stash": [[_text(entry.commit), _text(entry.who), _text(entry.message)] for entry in self.stash],
            "partial": self.partial,
            "settings": list(self.settings),
            "uncommitted": self.uncommitted,
            "deleted": [_text(path) for path in self.deleted],
            "bundle": self.bundle,
        } | ({"sections": [_text(name) for name in self.sections]} if self.sections else {})
        return json.dumps(plain, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Document:
        """Raises `Damaged` for what no capture writes, `NewerFormat`."""
        try:
            plain = json.loads(data)
            if plain["format"] > _FORMAT:
                raise NewerFormat("this repository was captured by a newer version of this program: restore with that")
            found = cls(
                bare=plain["bare"] is True,
                object_format=plain["object_format"],
                head=_bytes(plain["head"]),
                symbolic={_bytes(name): _bytes(target) for name, target in plain["symbolic"].items()},
                stash=tuple(StashEntry(*map(_bytes, entry)) for entry in plain["stash"]),
                partial=plain["partial"] is True,
                settings=tuple(plain["settings"]),
                uncommitted=plain["uncommitted"] is True,
                deleted=tuple(map(_bytes, plain["deleted"])),
                bundle=plain["bundle"] is True,
                sections=tuple(map(_bytes, plain.get("sections", ()))),
            )
            found.check()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(
                "repository.json is not as it was written; restore the repository's files one by one"
            ) from error
        return found

    def check(self) -> None:
        """Raises `ValueError` for what must not be handed to git."""
        references = [name for pair in self.symbolic.items() for name in pair]
        good = (
            self.object_format in ("sha1", "sha256")
            and (is_reference(self.head) or _ID.fullmatch(self.head))
            and all(is_reference(name) for name in references)
            and all(_SETTING.fullmatch(setting) for setting in self.settings)
            and all(_ID.fullmatch(entry.commit) and _WHO.fullmatch(entry.who) for entry in self.stash)
            and not any(set(b"\0\n") & set(entry.message) for entry in self.stash)
            and all(map(section, self.sections))
        )
        if not good:
            raise ValueError("a value is not as a capture writes it")


def is_reference(name: bytes) -> bool:
    """Whether git would take it for the full name of a reference, as far as that keeps it below `refs/`."""
    return bool(_REFERENCE.fullmatch(name)) and b".." not in name


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value.encode("utf-8", "surrogateescape")

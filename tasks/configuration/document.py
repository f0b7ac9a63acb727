"""A TOML file with the line of every key, and everything that is wrong with it as TOML.

No kept TOML library for Python tells the lines of a valid file. The standard parser itself finds them here: each
statement of TOML is a valid document of its own, so a file is read statement by statement.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

Key = tuple[str | int, ...]
"""The way to a value: the names of tables and keys, and places in lists."""

_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_BEGINNING = re.compile(r"\s*(?:\[[^\[\],]+\]\s*(?:#.*)?$|[A-Za-z0-9_.\"' -]+=)")
_OPENING = re.compile(r"=\s*(?:\[|\"\"\"|''')")
_PLACE = re.compile(r"at (?:line (\d+), column \d+|end of document)\)?$")


class Fault(NamedTuple):
    """One thing that is wrong: its line (0: none), its key, and words that never hold a value out of the file."""

    line: int
    key: Key
    what: str


class Document:
    """What a file says. Where it is no TOML, `data` is empty; where something stands in it twice, the first counts."""

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self.data: dict[str, Any] = {}
        self.faults: list[Fault] = []
        try:
            self.data = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError):
            self._explain()

    def line(self, key: Key) -> int:
        """The line of a key, or of the nearest table around it; 0 where there is none."""
        while key and key not in self._scan.lines:
            key = key[:-1]
        return self._scan.lines.get(key, 0)

    @cached_property
    def _scan(self) -> _Scan:
        return _Scan(self._text.split("\n"))

    def _explain(self) -> None:
        self.faults = self._scan.faults
        if self._scan.broken:
            return
        try:
            self.data = tomllib.loads("\n".join(self._scan.kept))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            line = _line(error) or len(self._scan.kept)
            self.faults.append(
                Fault(line, (), "this clashes with what is set above: a value there, a table here; keep one")
            )


@dataclass
class _Statement:
    """A table's header, or a key and its value; `elements` are the lines of a list's elements."""

    start: int
    end: int
    data: dict[str, Any]
    header: bool
    elements: list[int] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """What it names: the header's table, or the key, dotted or not, within its table."""
        key: list[str | int] = []
        inner: Any = self.data
        while isinstance(inner, dict) and len(inner) == 1:
            name, inner = next(iter(inner.items()))
            key.append(name)
            if self.header and isinstance(inner, list):
                inner = inner[0]
        return tuple(key)


class _Scan:
    """The lines of all keys, the faults, and the file without what stands in it a second time."""

    def __init__(self, source: list[str]) -> None:
        self.lines: dict[Key, int] = {}
        self.faults: list[Fault] = []
        self.kept = list(source)
        self.broken = False
        self._set: dict[Key, int] = {}
        table: Key = ()
        dropping = False
        for found in _statements(source):
            if isinstance(found, Fault):
                self.faults.append(found._replace(key=table + found.key))
                self.broken = True
                continue
            key = found.key if found.header else table + found.key
            if found.header and source[found.start - 1].lstrip().startswith("[["):
                key = (*key, sum(1 for known in self._set if known[:-1] == key))
            if found.header:
                table, dropping = key, False
            if not dropping and key in self._set:
                self.faults.append(Fault(found.start, key, _twice(key, found.header, self._set[key])))
                dropping = found.header
                self._drop(found)
            elif dropping:
                self._drop(found)
            else:
                self._set[key] = found.start
                self._locate(found, () if found.header else table)

    def _drop(self, statement: _Statement) -> None:
        self.kept[statement.start - 1 : statement.end] = [""] * (statement.end - statement.start + 1)

    def _locate(self, statement: _Statement, table: Key) -> None:
        for key in _keys(statement.data, table):
            self.lines.setdefault(key, statement.start)
        for place, line in enumerate(statement.elements):
            self.lines[*table, *statement.key, place] = line


def _keys(data: dict[str, Any], table: Key) -> Iterator[Key]:
    for name, value in data.items():
        yield (*table, name)
        if isinstance(value, dict):
            yield from _keys(value, (*table, name))


def _statements(source: list[str]) -> Iterator[_Statement | Fault]:
    at = 0
    while at < len(source):
        statement, fault, start = _Statement(at + 1, at + 1, {}, source[at].lstrip().startswith("[")), None, at
        while at < len(source):
            at += 1
            text = "\n".join(source[start:at])
            try:
                statement.data = tomllib.loads(text)
                if not statement.header:
                    statement.elements += [at] * (_length(text) - len(statement.elements))
            except (tomllib.TOMLDecodeError, RecursionError) as error:
                line = _line(error)
                if line is None and at < len(source):
                    # It may go on: a list or a text over several lines. So far it is a list of so many elements.
                    statement.elements += [at] * (_length(text + "\n]") - len(statement.elements))
                    continue
                fault = _fault(source[start], start + 1, str(error))
                at = max(start + 1, start + (line or 1) - 1)
                while _OPENING.search(source[start]) and at < len(source) and not _BEGINNING.match(source[at]):
                    at += 1
            statement.end = at
            break
        if fault:
            yield fault
        elif statement.data:
            yield statement


def _line(error: Exception) -> int | None:
    """The line that the parser stopped in; None for the end of the text."""
    place = _PLACE.search(str(error))
    return int(place[1]) if place and place[1] else None if place else 1


def _length(text: str) -> int:
    """How many elements the list that is this statement's value has; 0 where it is none, or not so far."""
    try:
        inner: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return 0
    while isinstance(inner, dict) and inner:
        inner = next(iter(inner.values()))
    return len(inner) if isinstance(inner, list) else 0


def _twice(key: Key, header: bool, first: int) -> str:
    if not header:
        return f"`{key[-1]}` is set twice, first in line {first}; keep one of them"
    noun = {"plans": "plan", "sources": "source", "destinations": "destination"}.get(str(key[0]))
    if noun and len(key) == 2:
        return f"the {noun} `{key[1]}` is defined twice, first in line {first}; give one of them another name"
    return f"the table `{'.'.join(map(str, key))}` is there twice, first in line {first}; make one of the two"


def _fault(statement: str, line: int, error: str) -> Fault:
    named = _KEY.match(statement)
    key: Key = (named[1],) if named else ()
    if statement.lstrip().startswith("["):
        what = "a table begins with its name in brackets, such as `[sources.logs]`, alone on a line"
    elif error.startswith(("Unterminated", "Illegal character '\\n'", 'Expected "\'"')):
        what = "a quote that begins here does not end on this line"
    elif error.startswith("Unclosed array"):
        what = 'the list that begins here does not end, or lacks a comma; write `["one", "two"]`'
    elif error.startswith(("Unescaped", "Invalid hex")):
        what = "a backslash has a meaning in double quotes; put this text in single quotes"
    elif named:
        what = "the value is no TOML: text stands in quotes, lists in [ ], and `true`, `false` and numbers stand alone"
    else:
        what = "a line is `name = value` or `[table]`; a comment begins with #"
    return Fault(line, key, what)

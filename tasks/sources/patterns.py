"""Patterns in gitignore style over paths of any bytes. The matching itself is the `pathspec` library's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_FOLDERS_BELOW = re.compile(r"/\*\*/ *$")
"""In git, `data/**/` is every folder below `data`; the library has it match the files in `data` too."""

_NO_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes of a line, which are in a path as `_text` has it what they are replaced by."""

_PLAIN = re.compile(r"/?([^/*?\[\]\\!#\s\ufffd]+(?:/[^/*?\[\]\\!#\s\ufffd]+)*)(?=/|\Z)")
"""The names that a line begins with, and in which no sign means anything."""


class Patterns:
    """A list of gitignore lines: the last one that matches decides, `!` turns a match round, a slash at the end is for
    folders, a slash elsewhere ties it to the top. Raises `ValueError` for a line that is no pattern. What was typed
    where names are in another encoding than UTF-8, as in the locale C, is taken for the bytes that it was."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(map(_typed, lines))
        for line in self.lines:
            self._compile((line,))
        # The library takes longer to import than most sources, which have no patterns, to walk.
        self._spec = self._compile(self.lines) if self.lines else None

    def __bool__(self) -> bool:
        return bool(self.lines)

    @property
    def reach(self) -> set[bytes] | None:
        """Paths at or below which all lies that can be matched; None where that may be anywhere."""
        heads = {_head(line) for line in self.lines if not line.startswith("!")}
        return None if None in heads else {head for head in heads if head is not None}

    def match(self, path: bytes, folder: bool = False) -> bool:
        """True if `path`, relative to the folder that the patterns are for, is matched and not turned round."""
        return self._spec is not None and self._spec.check_file(_text(path, folder)).include is True

    @staticmethod
    def _compile(lines: tuple[str, ...]) -> GitIgnoreSpec:
        from pathspec import GitIgnoreSpec
        from pathspec.patterns.gitignore import GitIgnorePatternError

        try:
            return GitIgnoreSpec.from_lines(
                _FOLDERS_BELOW.sub("/**/*/", _NO_UTF8.sub("\ufffd", line)) for line in lines
            )
        except (GitIgnorePatternError, re.error) as error:
            raise ValueError(f"`{lines[0]}` is no pattern in gitignore style") from error


def _typed(line: str) -> str:
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _head(line: str) -> bytes | None:
    """At or below which all lies that a line matches, if it is tied to the top and begins with plain names."""
    is_tied = "/" in line[:-1] and "//" not in line and line == line.strip()
    plain = _PLAIN.match(line) if is_tied else None
    return plain[1].encode("utf-8", "surrogateescape") if plain else None


def _text(path: bytes, folder: bool) -> str:
    # The library's `.` and `$` treat a newline specially, and some of its engines refuse lone surrogates; a
    # replacement character matches `?` and `*` just as the byte would.
    text = path.decode("utf-8", "replace").replace("\n", "\ufffd")
    return text + "/" if folder else text

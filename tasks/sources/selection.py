"""Which of the names under a root belong to the source."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.item import Facts
from tasks.sources.path_text import path_text
from tasks.sources.patterns import Patterns

_NAMED = 100


class Selection:
    """Decides by path, relative to its root. `exclude` and `secrets` leave out a file, or a folder and all it holds;
    of the rest, `include` takes files, or a folder and all it holds; without `include` everything is taken.

    A name that `secrets` leaves out, whatever its case, is counted, and the first hundred are kept; `counts` says that
    there may be some.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        self._include = Patterns(include)
        self._exclude = Patterns(exclude)
        self._secrets = Patterns(line.lower() for line in secrets)
        self.everything = not (self._include or self._exclude or self._secrets)
        self.takes_all = not self._include
        self.counts = bool(self._secrets)
        self._count = 0
        self._names: list[str] = []

    def leaves_out(self, path: bytes, shown: bytes, folder: bool = False) -> bool:
        """True if the name and whatever is below it are left out. `shown` is how a left-out secret is named."""
        if self._exclude and self._exclude.match(path, folder):
            return True
        if self._secrets and self._secrets.match(path.lower(), folder):
            self._count += 1
            if len(self._names) < _NAMED:
                self._names.append(path_text(shown) + "/" * folder)
            return True
        return False

    def takes(self, path: bytes, folder: bool = False) -> bool:
        """True if `include` asks for it. A folder that it does not ask for may still hold what it asks for."""
        return not self._include or self._include.match(path, folder)

    def facts(self) -> Facts:
        """How many secrets were left out, and the first hundred of them; nothing where none were to be."""
        return {"secrets_left_out": {"count": self._count, "names": self._names}} if self._secrets else {}


def joined_facts(parts: Iterable[Facts]) -> Facts:
    """Those of `Selection.facts` of a source that several went through, each a stretch of it."""
    found = [facts["secrets_left_out"] for facts in parts if "secrets_left_out" in facts]
    if not found:
        return {}
    names = [name for each in found for name in each["names"]]
    return {"secrets_left_out": {"count": sum(each["count"] for each in found), "names": names[:_NAMED]}}

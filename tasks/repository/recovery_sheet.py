"""The recovery sheet: a keyring's seed as a person prints it and types it again, and where a mistake is."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from blake3 import blake3

from tasks.errors import WrongKey

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_GROUP, _GROUPS, _IN_A_LINE = 4, 14, 7
_LENGTH = _GROUP * _GROUPS
_SEED, _CHECK = 32, 3
_FORM = f"it has {_GROUPS} groups of {_GROUP} letters and digits (A-Z, 2-7)"
_NEVER = {"0": "an O", "1": "an I or an L", "8": "a B", "9": "a G"}
"""The digits that are on no sheet, and what they may be."""


def printed(seed: bytes) -> str:
    """The seed in groups of four letters, to be printed and locked away: whoever has it can read everything."""
    code = base64.b32encode(seed + blake3(seed).digest(_CHECK)).decode()
    groups = [code[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP)]
    lines = [groups[at : at + _IN_A_LINE] for at in range(0, _GROUPS, _IN_A_LINE)]
    return "\n".join(map(" ".join, lines)) + "\n"


def seed_of(sheet: str) -> bytes:
    """As `init` prints it, with the words around it, or typed without a space between. Raises `WrongKey`, which tells
    where the mistake is as far as that can be told, and never what was typed."""
    typed = sheet.upper()
    groups = re.search(rf"(?<![{_LETTERS}])(?:[{_LETTERS}]{{{_GROUP}}}\s*){{{_GROUPS}}}(?![{_LETTERS}])", typed)
    seed = _opened("".join(groups[0].split())) if groups else None
    if seed is None:
        raise WrongKey(f"the recovery sheet is mistyped{_where(typed)}: compare it with what was printed; {_FORM}")
    return seed


def _opened(code: str) -> bytes | None:
    """None where it does not fit its own check."""
    data = base64.b32decode(code)
    seed, check = data[:_SEED], data[_SEED:]
    return seed if blake3(seed).digest(_CHECK) == check else None


def _where(typed: str) -> str:
    """In words that go on after `mistyped`; empty where it can't be told, as of two wrong letters."""
    codes = list(_codes(typed))
    for code in codes:
        for at in _one_mistake(code):
            return f" in {_group(at)}"
    for code in codes:
        if len(code) == _LENGTH and (never := [at for at, letter in enumerate(code) if letter in _NEVER]):
            told = (f"{_group(at)} (a {code[at]} is never on it: {_NEVER[code[at]]}?)" for at in never)
            return f" in {', '.join(told)}"
    words = typed.split()
    odd = [f"group {number}" for number, word in enumerate(words, 1) if len(word) != _GROUP]
    return f" in {', '.join(odd)}" if odd and len(words) == _GROUPS else ""


def _codes(typed: str) -> Iterator[str]:
    """What the sheet may be among the words around it: words that follow each other, with about as many letters."""
    for run in re.findall(r"(?:[A-Z0-9]+\s+)*[A-Z0-9]+", typed):
        words = run.split()
        for first in range(len(words)):
            code = ""
            for word in words[first:]:
                code += word
                if len(code) > _LENGTH + 1:
                    break
                if len(code) >= _LENGTH - 1:
                    yield code


def _one_mistake(code: str) -> Iterator[int]:
    """Where on the sheet one letter is another, is missing or too many, or has changed places with the next: the check
    fits then, which it does by chance once in 10,000 sheets."""
    for at in range(_LENGTH):
        before, here = code[:at], code[at:]
        match len(code) - _LENGTH:
            case 0:
                tried = [before + letter + here[1:] for letter in _LETTERS] + [before + here[1::-1] + here[2:]]
            case 1:
                tried = [before + here[1:]]
            case _:
                tried = [before + letter + here for letter in _LETTERS]
        if any(set(each) <= set(_LETTERS) and len(each) == _LENGTH and _opened(each) for each in tried):
            yield at


def _group(at: int) -> str:
    return f"group {at // _GROUP + 1}"

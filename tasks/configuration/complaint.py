"""What the schema found wrong, in our own words: which key, what is wrong, what to write instead; never the value."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tasks.configuration.document import Key
from tasks.model import texts
from tasks.settings import Settings

_LIST = 'must be a list in brackets, such as ["one", "two"]'
_WHOLE = "must be a whole number, without quotes"
_NUMBER = "must be a number, without quotes"
_SWITCH = "must be `true` or `false`, without quotes"
_TABLE = "must be a table, such as `[KEY]` with its options below"
_INLINE = "must be a table in braces, such as { option = value }"

_WANTED = {
    "string_type": "must be text in quotes",
    "path_type": "must be a path: text in quotes",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
}

_BOUNDS = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "too_short": ("must hold at least {}", "min_length"),
    "too_long": ("must hold at most {}", "max_length"),
    "string_too_short": ("must have at least {} letters", "min_length"),
    "string_too_long": ("must have at most {} letters", "max_length"),
}

_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    (bool, "a true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    ((date, datetime, time), "a date or time"),
    (list, "a list"),
    (dict, "a table"),
)

NAME = "a name has lower-case letters, digits, - and _, begins with a letter or digit, and has at most 64 of them"


def complaints(error: ValidationError, model: type[BaseModel], table: Key, data: Any) -> Iterator[tuple[Key, str]]:
    """Each key that `model` refused in `data`, which stands at `table`, and a sentence about it."""
    found: dict[Key, list[str]] = {}
    for detail in _without_other_choices(error.errors(include_url=False)):
        key = _key(detail, data)
        found.setdefault((*table, *key), []).append(_sentence(detail, key, table, _model_at(model, key[:-1])))
    for place, sentences in found.items():
        yield place, _joined(list(dict.fromkeys(sentences)))


def meant(wrong: object, possible: Iterable[str]) -> str:
    """` did you mean` and the nearest possible name, or all of them where none is near; "" where there are none."""
    names = list(possible)
    near = difflib.get_close_matches(str(wrong).lower(), names, 1)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; there is {', '.join(f'`{name}`' for name in names)}" if names else ""


def kind_of(value: object) -> str:
    """The type of a value, in the words of someone who writes a file."""
    return next((words for kind, words in _TYPES if isinstance(value, kind)), "that")


def _joined(sentences: list[str]) -> str:
    """`must be A, not C` and `must be B, not C` as `must be A, or B, not C`."""
    first, _, found = sentences[0].rpartition(", not ")
    if first and all(sentence.endswith(f", not {found}") for sentence in sentences):
        others = [sentence.rpartition(", not ")[0].removeprefix("must be ") for sentence in sentences[1:]]
        return f"{', or '.join([first, *others])}, not {found}"
    return ", or ".join(sentences)


def _without_other_choices(details: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Where a path or a table may stand, and a table does with a fault inside, that it is no path is not worth saying.
    Nor is that a list is too short where it is so only without its faulty elements."""
    for detail in details:
        if detail["type"] == "too_short" and len(detail["input"]) >= detail.get("ctx", {}).get("min_length", 0):
            continue
        around = detail["loc"][:-1]
        deeper = any(
            other["loc"][: len(around)] == around and len(other["loc"]) > len(detail["loc"]) for other in details
        )
        if not (detail["type"] in _WANTED and isinstance(detail["input"], (dict, list)) and deeper):
            yield detail


def _key(detail: ErrorDetails, data: Any) -> Key:
    """The key as the file has it. A union adds the names of its choices to the way; they go."""
    key: Key = ()
    around: Any = data
    last = detail["loc"][-1] if detail["loc"] else None
    for name in detail["loc"]:
        if isinstance(around, Mapping) and name in around:
            around = around[str(name)]
        elif isinstance(around, list) and isinstance(name, int):
            around = around[name]
        elif not (detail["type"] == "missing" and name is last):
            continue
        key = (*key, name)
    return key


def _model_at(model: type[BaseModel], table: Key) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for name in table:
        field = found.model_fields.get(str(name)) if found else None
        if field:
            found = next(_models(field.annotation), None)
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def _sentence(detail: ErrorDetails, key: Key, table: Key, model: type[BaseModel] | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    options = list(model.model_fields) if model else []
    if detail["loc"] and detail["loc"][-1] == "[key]":
        return NAME
    if kind == "extra_forbidden":
        if (table or len(key) > 1) and str(key[-1]) in Settings.model_fields and str(key[-1]) not in options:
            return "unknown key here; it belongs at the top of the file, above the first [table]"
        return f"unknown key{meant(key[-1], options)}"
    if kind == "missing":
        text = texts(model).get(str(key[-1])) if model else None
        what = f": {_first_sentence(text)}" if text else ""
        return f"`{key[-1]}` is missing; add it{what}"
    if kind in _WANTED:
        inline = bool(key) and isinstance(key[-1], int)
        wanted = _INLINE if inline and _WANTED[kind] is _TABLE else _WANTED[kind]
        wanted = wanted.replace("[KEY]", f"[{'.'.join(map(str, (*table, *key)))}]")
        return f"{wanted}, not {kind_of(detail['input'])}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return words.format(context.get(bound))
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", "")) or "has a value that can't be used"
    if kind in ("literal_error", "enum"):
        possible = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"there is no such choice{meant(detail['input'], possible)}"
    if kind == "string_pattern_mismatch":
        ours = context.get("pattern", "").startswith("^[a-z0-9][a-z0-9_-]")
        return NAME if ours else "must be a name alone, as the service allows it, such as `geometra-backup`"
    return "has a value that can't be used"


def _first_sentence(text: str) -> str:
    sentence = " ".join(text.split()).partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]

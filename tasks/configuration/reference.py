"""Every option of backup.toml, and of a restore into a server, out of the models themselves: as data, as text for
people, and those of backup.toml as a schema for editors."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.configuration.kinds import destination_kinds, source_kinds, target_kinds
from tasks.model import Model, written
from tasks.settings import DestinationSettings, KeysSettings, PlanSettings, Settings, SourceSettings
from tasks.values import ByteCount, in_short

WIDTH = 110

_FORMATS = {
    "path": "a path",
    "secret": "`env:NAME` or `file:PATH`",
    "address": "a URL without a password in it, or `env:NAME` or `file:PATH`",
    "span": "a duration such as `36h`",
    "size": "a size such as `8GB`",
    "window": "two times such as `22:00-06:00`",
    "moment": "a time such as `2026-11-20T03:00:00Z`",
    "schedule": "five fields such as `30 1 * * *`",
    "time-zone": "a time zone such as `Europe/Berlin`",
}


@dataclass(frozen=True)
class Option:
    """One option: `default` as TOML, None where it is off or absent unless set; `needed` if there is no default."""

    name: str
    what: str
    text: str
    default: str | None
    needed: bool
    example: str | None = None


def options(model: type[BaseModel]) -> list[Option]:
    """The options of a table, but not those that are tables of their own."""
    schema = model.model_json_schema()
    found = []
    for name, field in model.model_fields.items():
        if name == "kind" or _is_table(field.annotation):
            continue
        default = None if field.is_required() else toml(field.get_default())
        called = written(model, name)
        described = schema["properties"][called]
        what = _in_words(described, schema)
        text = " ".join(described.get("description", "").split())
        example = toml(field.examples[0]) if field.examples else None
        found.append(Option(called, what, text, default, needed=field.is_required(), example=example))
    return found


def toml(value: Any) -> str | None:
    """A value as backup.toml writes it; None for what TOML has no word for."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, ByteCount):
        return toml(str(value))
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, timedelta):
        return toml(in_short(value))
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {toml(inner)}' for name, inner in value.items())} }}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(str(toml(inner)) for inner in value)}]"
    return None


def about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def reference() -> str:
    """Every option of every kind, for a terminal."""
    return "\n".join(_lines()) + "\n"


def schema() -> dict[str, Any]:
    """A JSON schema of backup.toml, for editors that complete and check TOML by one."""
    whole = Settings.model_json_schema()
    definitions = whole.setdefault("$defs", {})
    for noun, kinds in (("sources", source_kinds()), ("destinations", destination_kinds())):
        choices = []
        for kind, model in kinds.items():
            one = model.model_json_schema(ref_template=f"#/$defs/{noun}-{kind}-{{model}}")
            definitions |= {f"{noun}-{kind}-{name}": inner for name, inner in one.pop("$defs", {}).items()}
            one["properties"]["kind"] = {"const": kind}
            one["required"] = sorted({"kind", *one.get("required", [])})
            choices.append(one)
        whole["properties"][noun]["additionalProperties"] = {"anyOf": choices}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


_TARGET = 'geometra-backup restore SOURCE --to URL -o NAME=VALUE, where kind = "{}"'


def _lines() -> Iterator[str]:
    yield from _table("At the top of the file", "", options(Settings))
    yield from _table("[keys]", about(KeysSettings), options(KeysSettings))
    for noun, base, kinds in (
        ("destinations", DestinationSettings, destination_kinds()),
        ("sources", SourceSettings, source_kinds()),
    ):
        yield from _table(f"[{noun}.NAME]", f"{about(base)} `kind` is one of {', '.join(kinds)}.", options(base))
        known = set(options(base))
        for kind, model in kinds.items():
            yield from _table(f'[{noun}.NAME] with kind = "{kind}"', about(model), options(model), known)
            known |= set(options(model))
    yield from _table("[plans.NAME]", about(PlanSettings), options(PlanSettings))
    yield from _table("[plans.NAME.keep]", about(_keep()), options(_keep()))
    for kind, target in target_kinds().items():
        named = [option for option in options(target) if option.name != "url"]
        yield from _table(_TARGET.format(kind), about(target), named)


def _table(title: str, text: str, every: list[Option], known: Container[Option] = ()) -> Iterator[str]:
    """One table with its options; those that it shares with one above, where they are said, are only named."""
    yield title
    yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
    for option in every:
        if option in known:
            continue
        default = (
            "needed" if option.needed else f"default {option.default}" if option.default is not None else "not set"
        )
        yield ""
        yield from textwrap.wrap(
            f"{option.name}: {option.what}; {default}", WIDTH, initial_indent="  ", subsequent_indent="    "
        )
        yield from textwrap.wrap(option.text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    shared = [option.name for option in every if option in known]
    if shared:
        yield ""
        yield from textwrap.wrap(f"As above: {', '.join(shared)}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    yield ""


def _keep() -> type[Model]:
    return type(PlanSettings().keep)


def _is_table(annotation: Any) -> bool:
    """True for an option that is a table of its own, or tables by name."""
    is_model = isinstance(annotation, type) and issubclass(annotation, Model) and annotation.__name__ != "Secret"
    return is_model or getattr(annotation, "__origin__", None) is dict


def _in_words(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """The type of an option, in the words of someone who writes a file."""
    if "$ref" in schema:
        inner = whole["$defs"][schema["$ref"].rpartition("/")[2]]
        return f"a table {{ {', '.join(inner['properties'])} }}"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_in_words(one, whole) for one in schema["anyOf"] if one.get("type") != "null"))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"a list, each {_in_words(schema.get('items', {}), whole)}"
    plain = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "object": "a table"}
    return _FORMATS.get(schema.get("format", ""), plain.get(schema.get("type", ""), "text"))

"""Where a restore goes: a folder of this host, or a running server, with the options that its kind of source has."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from tasks.configuration.complaint import complaints
from tasks.errors import SettingsError
from tasks.secret import is_address
from tasks.settings import TargetSettings
from tasks.sources.source import Served, Source

Target = Path | TargetSettings


def target_of(source: Source, to: str, options: Mapping[str, Sequence[str]]) -> Target:
    """`to` is a folder, or a server's URL or a reference to one; `options` are for servers only, each with all values
    that it was given. Raises `SettingsError`."""
    if not is_address(to):
        if options:
            raise SettingsError(f"`{to}` is a folder, and options such as `{next(iter(options))}` are for servers")
        return Path(to).absolute()
    if not isinstance(source, Served):
        # The URL is not repeated, as there may be a password in it: whoever asks by the broker finds this in a log.
        raise SettingsError(f"sources of kind `{source.kind}` are restored into a folder: name one, and no server")
    model = source.Target
    data = {"url": to} | {name: _value(model, name, list(values)) for name, values in options.items()}
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = [f"`{'.'.join(map(str, key))}`: {text}" for key, text in complaints(error, model, (), data)]
        raise SettingsError("; ".join(found)) from None


def _value(model: type[TargetSettings], name: str, values: list[str]) -> str | list[str]:
    """A list where the option takes several; else what was given last."""
    field = model.model_fields.get(name)
    several = field is not None and typing.get_origin(field.annotation) in (tuple, list)
    return values if several else values[-1]

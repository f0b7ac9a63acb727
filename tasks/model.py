"""What every model of backup.toml is: frozen, strict, and said in words below each option."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import sys
from itertools import pairwise
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema

# Pydantic would ask every installed package for plugins: slow, and none of them has any business with these settings.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Model(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt option must never be ignored."""

    model_config = ConfigDict(
        frozen=True,
        defer_build=True,  # most of what a process imports it never validates
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _name_a_path(cls, given: Any, about: ValidationInfo) -> Any:
        """Empty, as of a variable that is not set, it would be the folder of backup.toml."""
        empty = "" in (given if isinstance(given, list) else [given])
        if empty and about.field_name and "Path" in str(cls.model_fields[about.field_name].annotation):
            raise ValueError("an empty path; write `.` for the folder that this file is in")
        return given

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core_schema))
        for name, text in texts(cls).items():
            made["properties"][written(cls, name)].setdefault("description", text)
        return made


def written(model: type[BaseModel], name: str) -> str:
    """What an option is called by those who write it: `as` can't be the name of a field."""
    alias = model.model_fields[name].validation_alias
    return str(alias.choices[0] if isinstance(alias, AliasChoices) else alias or name)


def texts(model: type[BaseModel]) -> dict[str, str]:
    """What each option of a model is for: the docstring below it. Read when it is asked for: Pydantic would read it
    whenever a model is imported, which is a tenth of the start of every command."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, Model):
            found |= _texts(each)
    return {name: text for name, text in found.items() if name in model.model_fields}


@functools.cache
def _texts(model: type[Model]) -> dict[str, str]:
    try:
        module = ast.parse(inspect.getsource(sys.modules[model.__module__]))
    except (OSError, SyntaxError):  # installed without its source, or replaced at this moment
        return {}
    return {
        option.target.id: inspect.cleandoc(below.value.value)
        for made in ast.walk(module)
        if isinstance(made, ast.ClassDef) and made.name == model.__name__  # none, if it was made while this runs
        for option, below in pairwise(made.body)
        if isinstance(option, ast.AnnAssign) and isinstance(option.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }

"""What every model of backup.toml is: frozen, and strict."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict

# Pydantic would ask every installed package for plugins: slow, and none of them has any business with these settings.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Model(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt option must never be ignored."""

    model_config = ConfigDict(
        frozen=True,
        defer_build=True,  # most of what a process imports it never validates
        extra="forbid",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

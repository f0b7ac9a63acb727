"""backup.toml: found, read and checked; and what can be said about its options."""

from __future__ import annotations

from tasks.configuration.loading import FILE, VARIABLE, find, load, parse
from tasks.configuration.problems import problems
from tasks.configuration.reference import reference, schema
from tasks.configuration.template import render

__all__ = ["FILE", "VARIABLE", "find", "load", "parse", "problems", "reference", "render", "schema"]

"""Servers for the contracts of what talks to one."""

from __future__ import annotations

from tests.stores.fixtures import s3

__all__ = ["s3"]

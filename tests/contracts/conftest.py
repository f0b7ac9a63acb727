"""Servers for the contracts of what talks to one."""

from __future__ import annotations

from tests.stores.fixtures import azure, gcs, s3

__all__ = ["azure", "gcs", "s3"]

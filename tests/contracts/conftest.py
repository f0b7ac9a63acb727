"""Servers for the contracts of what talks to one."""

from __future__ import annotations

from tests.stores.fixtures import azure, gcs, rgw, s3

__all__ = ["azure", "gcs", "rgw", "s3"]

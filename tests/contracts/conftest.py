"""Servers for the contracts of what talks to one."""

from __future__ import annotations

from tests.repository_fixtures import fast_path
from tests.stores.fixtures import azure, gcs, rgw, s3

__all__ = ["azure", "fast_path", "gcs", "rgw", "s3"]

"""Repositories to try things on."""

from __future__ import annotations

from hypothesis import settings

from tests.repository_fixtures import fast_path, repository

__all__ = ["fast_path", "repository"]

# A machine that is busy with other things is no defect.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

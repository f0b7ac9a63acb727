"""Repositories to try things on."""

from __future__ import annotations

from tests.repository_fixtures import fast_path, repository

__all__ = ["fast_path", "repository"]

"""The real settings, after the kinds that only tests have were added."""

from __future__ import annotations

from tests.flows import kinds as _kinds

_kinds.register()
_kinds.register_tasks()
_kinds.gate_restores()

from celeryconfig import *  # noqa: E402, F403

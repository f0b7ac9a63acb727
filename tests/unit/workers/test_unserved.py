"""Which pools count as missing: not those for which there is no work."""

from __future__ import annotations

import pytest

from tasks.settings import DestinationSettings, Settings, SourceSettings
from workers.pools import POOLS
from workers.unserved import unserved


@pytest.mark.parametrize(
    ("drill", "served", "missing"),
    [
        (None, {"proof", "drill"}, []),
        (None, {"proof"}, []),
        ("7d", {"proof"}, ["drill"]),
        ("7d", {"drill"}, ["proof"]),
    ],
)
def test_a_pool_for_drills_is_missed_where_a_source_wants_them(
    monkeypatch: pytest.MonkeyPatch, drill: str | None, served: set[str], missing: list[str]
) -> None:
    others = {pool.name for pool in POOLS} - {"proof", "drill"}
    monkeypatch.setattr("tasks.tend.served_queues", lambda app, timeout: others | served)
    settings = Settings(
        sources={"docs": SourceSettings.model_validate({"kind": "docs", "drill": drill})},
        destinations={"here": DestinationSettings(kind="local")},
    )
    assert unserved(settings) == missing

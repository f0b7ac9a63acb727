"""Names that come twice are noticed, however many came between."""

from __future__ import annotations

import random

import pytest

from tasks.sources.redis_store import seen


def test_every_name_is_new_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_FIRST", 8)
    monkeypatch.setattr(seen, "_LARGEST", 64)
    dice, names, known = random.Random(5), seen.Seen(), set[bytes]()
    for _ in range(300):
        batch = [b"%d" % dice.randrange(1500) for _ in range(dice.randint(0, 20))]
        expected = [name for name in dict.fromkeys(batch) if name not in known]
        assert names.new(batch) == expected
        known.update(batch)

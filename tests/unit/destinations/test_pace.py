"""So many bytes a second, and no fewer."""

from __future__ import annotations

import io
import time

from tasks.destinations.pace import Pace


def test_a_body_is_given_out_at_its_pace() -> None:
    body = Pace(400_000).sent(io.BytesIO(b"x" * 300_000))
    began, pieces = time.monotonic(), []
    while piece := body.read():
        pieces.append(piece)
    assert b"".join(pieces) == b"x" * 300_000
    assert 0.4 < time.monotonic() - began < 5


def test_without_a_limit_nothing_comes_between() -> None:
    body = io.BytesIO(b"x")
    assert Pace(None).sent(body) is body

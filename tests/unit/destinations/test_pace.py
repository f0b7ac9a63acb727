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


def test_what_is_read_comes_at_its_pace_and_whole() -> None:
    pace = Pace(400_000)
    content = bytes(range(256)) * 1200
    began = time.monotonic()
    assert pace.read_all(pace.received(io.BytesIO(content).read)) == content
    assert 0.4 < time.monotonic() - began < 5


def test_a_slow_pace_is_kept_in_small_steps_for_a_service_gives_up_on_who_is_silent() -> None:
    """Sixteen requests at the slowest pace there is still send something every few seconds."""
    pace = Pace(10_000)
    assert 16 * len(pace.sent(io.BytesIO(bytes(100_000))).read()) / 10_000 < 4


def test_without_a_limit_nothing_comes_between() -> None:
    body = io.BytesIO(b"x")
    assert Pace(None).sent(body) is body
    assert Pace(None).received(body.read) == body.read
    assert Pace(None).read_all(body.read) == b"x"

"""What a capture tells of itself. That it captures is shown by the flows."""

from __future__ import annotations

from tasks.capture import _in_words


def test_a_flaw_is_told_without_what_would_steer_a_terminal() -> None:
    told = _in_words("logs/\x1b[2J\udcff.log", "vanished", "it was gone when it was opened")
    assert told == r"logs/\x1b[2J\xff.log is vanished: it was gone when it was opened"

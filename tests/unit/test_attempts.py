"""Attempts at one thing, on a real Redis: one after another, and one result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.attempts import Attempts
from tasks.lease import LeaseLost
from tasks.parts import Parts
from tasks.record import Record
from tests.redis_process import redis_process
from tests.repositories import create, local


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with redis_process() as server, closing(server.client()) as client:
        yield Parts(Record(client), create(local(tmp_path)).keys, "docs", "run-1")


def test_each_attempt_knows_those_before_it_and_the_last_one_s_result_is_everybody_s(parts: Parts) -> None:
    attempts = Attempts(parts, "restore/here/1")
    assert attempts.last() is None
    first, second = attempts.begin(), attempts.begin()
    assert (first.earlier, second.earlier) == ((), (first.name,))
    assert attempts.last() == second.__class__(second.name, (first.name,))
    ended = attempts.end(second, b"done")
    assert ended.result == b"done"
    assert attempts.begin() == attempts.begin() == attempts.last() == ended
    assert Attempts(parts, "restore/here/2").last() is None


def test_an_attempt_that_another_followed_can_t_end(parts: Parts) -> None:
    attempts = Attempts(parts, "restore/here/1")
    first = attempts.begin()
    second = attempts.begin()
    with pytest.raises(LeaseLost):
        attempts.end(first, b"late")
    assert attempts.end(second, b"").result == b""
    with pytest.raises(LeaseLost):
        attempts.end(first, b"late")
    assert attempts.begin().name == second.name


def test_an_attempt_that_has_ended_is_not_followed(parts: Parts) -> None:
    attempts = Attempts(parts, "restore/here/1")
    first = attempts.begin()
    attempts.end(first, b"done")
    assert attempts.end(first, b"done").result == b"done"  # told twice, as after a broken connection
    assert attempts.begin().result == b"done"

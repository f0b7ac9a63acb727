"""How to compress, where a few spots of a file do not tell: what it holds elsewhere, and what comes again far away."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import zstandard

from tasks.numbers import Numbers
from tasks.repository.compression import choose, decode, encode
from tests.memory_source import tree
from tests.repositories import create, local, restored, save, stored_bytes

MIB = 1 << 20


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


def floats(size: int) -> bytes:
    return numpy.random.default_rng(1).standard_normal(size // 4).astype("<f4").tobytes()


def text(size: int) -> bytes:
    return b"".join(b"%d rows of %d were read\n" % (at * 7919 % 9973, at) for at in range(size // 20))[:size]


@pytest.mark.parametrize(("first", "then"), [(noise, text), (noise, floats), (floats, text)])
def test_what_follows_other_content_in_a_file_is_compressed_as_it_likes_best(
    tmp_path: Path, first: Callable[[int], bytes], then: Callable[[int], bytes]
) -> None:
    """As a table behind a picture, in the image of a disk. The way to compress was kept for up to 48 MiB."""
    one, other = first(36 * MIB), then(8 * MIB)
    stored = []
    for name, files in ("apart", {b"1": one, b"2": other}), ("together", {b"both": one + other}):
        repository = create(local(tmp_path / name))
        snapshot = save(repository, tree(files), 0)
        assert restored(repository, snapshot) == files
        stored.append(stored_bytes(repository.destination))
    apart, together = stored
    assert together < apart + MIB // 2


chance = numpy.random.default_rng(4)


@pytest.mark.parametrize(
    "numbers",
    [
        chance.integers(0, 256, 1 << 19) / 255,
        numpy.round(chance.standard_normal(1 << 19) * 40) * 0.0137,
        numpy.round(chance.standard_normal(1 << 19) * 8 + 15, 1),
    ],
    ids=["a picture", "quantised weights", "temperatures"],
)
@pytest.mark.parametrize("start", [0, 1, 6])
def test_floats_of_which_few_are_different_take_no_more_than_by_zstd_alone(numbers: Numbers, start: int) -> None:
    """By planes, these took up to 1.6 times as much. A block starts anywhere within a float."""
    data = memoryview(numbers.astype("<f4").tobytes())[start:]
    method, encoded = encode(data, choose(data))
    assert decode(method, encoded, len(data)) == data
    plain = len(zstandard.ZstdCompressor(level=3).compress(data))
    assert len(encoded) < 1.02 * plain


def test_a_text_whose_words_come_again_far_away_takes_no_more_than_by_zstd_alone() -> None:
    """In spots of 16 KiB its few thousand words are hardly seen twice: it took a fifth more."""
    dice = random.Random(5)
    known = [dice.randbytes(dice.randint(1, 5)).hex() for _ in range(8000)]
    words = dice.choices(known, [1 / at for at in range(1, len(known) + 1)], k=300_000)
    data = memoryview(" ".join(words).encode())
    _, encoded = encode(data, choose(data))
    assert len(encoded) < 1.04 * len(zstandard.ZstdCompressor(level=3).compress(data))

"""Seeded stand-ins for human text: a made-up vocabulary, used as often as real words are (Zipf)."""

from __future__ import annotations

import random

import numpy

_ONSETS = "b br c ch cl d dr f fl g gr h j k l m n p pl pr qu r s sc sh sp st str t th tr v w".split()
_VOWELS = "a e i o u ai ea ee io ou".split()
_CODAS = "  b ck d l ll m n nd ng nt p r rd rs s ss st t x".split(" ")


def vocabulary(seed: int, count: int = 8000) -> list[str]:
    """`count` different words of one to four syllables; the earlier a word, the shorter it tends to be."""
    chance = random.Random(f"vocabulary {seed}")
    words: dict[str, None] = {}
    while len(words) < count:
        longest = 1 + min(3, len(words) * 4 // count)
        syllables = chance.randint(max(1, longest - 1), longest)
        words[
            "".join(chance.choice(_ONSETS) + chance.choice(_VOWELS) + chance.choice(_CODAS) for _ in range(syllables))
        ] = None
    return list(words)


class Prose:
    """Sentences from a vocabulary, drawn in bulk so that hundreds of megabytes take seconds."""

    def __init__(self, seed: int) -> None:
        self._words = vocabulary(seed)
        frequency = 1.0 / numpy.arange(1, len(self._words) + 1) ** 1.05
        self._cumulative = numpy.cumsum(frequency / frequency.sum())
        self._chance = numpy.random.default_rng([seed, 71])
        self._drawn: list[str] = []

    def words(self, count: int) -> list[str]:
        while len(self._drawn) < count:
            ranks = numpy.searchsorted(self._cumulative, self._chance.random(200_000) * self._cumulative[-1])
            self._drawn = [self._words[rank] for rank in ranks.tolist()]
        taken, self._drawn = self._drawn[:count], self._drawn[count:]
        return taken

    def text(self, count: int) -> str:
        """`count` words in sentences of nine to seventeen."""
        words, parts, at = self.words(count), [], 0
        while at < count:
            length = 9 + (at * 7 + count) % 9
            sentence = " ".join(words[at : at + length])
            parts.append(sentence[:1].upper() + sentence[1:] + ".")
            at += length
        return " ".join(parts)

"""Words as long as a float32 that come again: of pictures as floats from 0 to 1, of quantised weights, of what was
rounded."""

from __future__ import annotations

from tasks.numbers import numpy

_GLANCE, _WORD, _FEW = 8 << 10, 4, 8


def repeat(spots: list[memoryview]) -> bool:
    """Whether there are few different ones in the spots of a block, whichever byte they begin with."""
    # Chunks begin anywhere within a word. What has none twice is told by the first of them.
    return any(
        _few_words([spots[0][start:_GLANCE]], 2) and _few_words([spot[start:] for spot in spots], _FEW)
        for start in range(_WORD)
    )


def _few_words(spots: list[memoryview], times: int) -> bool:
    """Whether each comes so often, on average."""
    words = numpy.concatenate([numpy.frombuffer(spot, "<u4", len(spot) // _WORD) for spot in spots])
    words.sort()
    return bool(numpy.count_nonzero(words[1:] != words[:-1]) * times < len(words))

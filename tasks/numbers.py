"""NumPy as this package uses it: arrays on one core, and not the threads of its linear algebra, which take as long to
start as all the rest, and are there once whoever imports NumPy first lets them."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

_THREADS = "OPENBLAS_NUM_THREADS"

if _THREADS in os.environ:
    import numpy
else:
    os.environ[_THREADS] = "1"
    try:
        import numpy
    finally:
        # Read once, when it is loaded: programs that this process starts have a choice of their own.
        del os.environ[_THREADS]

if TYPE_CHECKING:
    from numpy.typing import NDArray

Numbers: TypeAlias = "NDArray[Any]"
"""An array of one type of number."""

Bytes: TypeAlias = "NDArray[numpy.uint8]"

SLICE = 1 << 16
"""Of arrays of millions, so many numbers are handled together: no copy of all of them is made on the way."""

_LEAST_MAP = 1 << 18
"""Bytes below which a map of its own costs more than it saves."""


def room(count: int, kind: str) -> Numbers:
    """An array to be filled. A large one is a map of its own: between other blocks it would leave a hole as large when
    it goes, and the memory of a process would grow by what it does not hold any more."""
    dtype = numpy.dtype(kind)
    size = count * dtype.itemsize
    if size < _LEAST_MAP:
        return numpy.empty(count, dtype)
    private = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    made: Numbers = numpy.frombuffer(private, dtype)
    return made


def let_go(numbers: Numbers, part: slice) -> None:
    """Give back the memory of these of them, as far as they fill pages of a map that `room` made; they are 0 then."""
    base: Any = numbers.base
    private = getattr(base, "obj", None)
    if isinstance(private, mmap.mmap) and hasattr(private, "madvise"):
        start, end = (bound * numbers.itemsize // mmap.PAGESIZE * mmap.PAGESIZE for bound in (part.start, part.stop))
        if start < end:
            with suppress(OSError):  # memory that is locked stays
                private.madvise(mmap.MADV_DONTNEED, start, end - start)


def distinct(values: Numbers) -> Numbers:
    """Each value once, in order. (`numpy.unique` first loads masked arrays, to ask whether it was given some.)"""
    ordered = numpy.sort(values)
    first = numpy.ones(len(ordered), bool)
    numpy.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


__all__ = ["SLICE", "Bytes", "NDArray", "Numbers", "distinct", "let_go", "numpy", "room"]

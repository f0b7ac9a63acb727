"""NumPy as this package uses it: arrays, and no linear algebra, whose threads take as long to start as all the rest."""

from __future__ import annotations

import os
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

__all__ = ["Bytes", "Numbers", "numpy"]

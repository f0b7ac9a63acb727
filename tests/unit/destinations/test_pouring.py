"""An object that becomes a file of this host."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tasks.destinations.pouring import poured
from tasks.errors import NoSpace


def test_what_a_try_that_broke_off_has_left_unwritten_meets_a_full_disk(tmp_path: Path) -> None:
    """As no room, which is told from an answer that did not come, and not tried again for minutes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "file").open("w+b") as file:
        file.write(bytes(4096))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        try:
            with pytest.raises(NoSpace):
                poured([b"once more"], file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

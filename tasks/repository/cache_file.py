"""A file of this host's cache: whoever has none asks again, so losing it loses nothing."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def keep(path: Path, data: bytes) -> None:
    """Whole or not at all, in place of what was there. What the disk refuses is let be."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.replace(file.name, path)
            finally:
                Path(file.name).unlink(missing_ok=True)

"""Room on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_at(folder: Path) -> int | None:
    """Bytes that are free where a folder is, or would be made; None where that can't be told."""
    place = folder.absolute()
    for path in (place, *place.parents):
        try:
            return shutil.disk_usage(path).free
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            break
    return None

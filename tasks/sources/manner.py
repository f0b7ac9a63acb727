"""How a kind of files is walked and read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manner:
    """A folder that holds one of the names in `tags`, or with `exclude_caches` a valid CACHEDIR.TAG, is taken without
    its other content. `rotating` is for logs: a folder's files (the last 256) are opened when the folder is listed, so
    that renaming them afterwards mixes nothing up, and they may grow while they are read. `cut` and `want_digest`: see
    `Item`; `all_holes`: see `FileStream`."""

    one_file_system: bool = False
    exclude_caches: bool = False
    tags: tuple[bytes, ...] = ()
    rotating: bool = False
    cut: str = ""
    want_digest: bool = True
    all_holes: bool = False

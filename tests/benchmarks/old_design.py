"""The design this product replaces: a `tarfile` with gzip level 9, written anew each time. Run as a program."""

from __future__ import annotations

import sys
import tarfile


def main(verb: str, archive: str, folder: str) -> None:
    if verb == "save":
        with tarfile.open(archive, "w:gz", compresslevel=9) as tar:
            tar.add(folder, arcname=".")
        return
    with tarfile.open(archive, "r:gz") as tar:
        if verb == "restore":
            tar.extractall(folder, filter="fully_trusted")
            return
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            while file and file.read(1 << 20):
                pass


if __name__ == "__main__":
    main(*sys.argv[1:])

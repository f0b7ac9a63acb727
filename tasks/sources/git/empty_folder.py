"""A git directory with nothing in it, made by hand after gitrepository-layout(5): `git init` would copy templates."""

from __future__ import annotations

import os


def make_git_folder(folder: bytes, object_format: str, *, bare: bool = False, partial: bool = False) -> None:
    """Makes `folder`, its parents too. `partial` allows that objects are missing which a remote has promised."""
    for part in (b"objects/pack", b"objects/info", b"refs", b"info"):
        os.makedirs(os.path.join(folder, part))
    sha256 = object_format == "sha256"
    lines = ["[core]", f"repositoryFormatVersion = {int(sha256 or partial)}", f"bare = {str(bare).lower()}"]
    lines += ["[extensions]"] * (sha256 or partial)
    lines += ["objectFormat = sha256"] * sha256 + ["partialClone = promised"] * partial
    for name, content in ((b"config", "\n".join(lines) + "\n"), (b"HEAD", "ref: refs/heads/none\n")):
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(content)

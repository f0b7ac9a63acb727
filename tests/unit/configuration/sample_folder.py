"""A folder such as Geometra's, for what `init` finds and writes."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make(folder: Path, *files: str, size: int = 1) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x" * size)


def geometra(parent: Path) -> Path:
    """A folder such as Geometra's: everything a night of files backs up."""
    folder = parent / "geometra"
    make(folder, "config/app.toml", "services/api/config/api.yaml", ".env", "docker-compose.yml")
    make(folder, "logs/api.log", "logs/api.log.1.gz", "models/embed/model.safetensors", "models/embed/config.json")
    make(folder, "docs/index.md", "tests/data/case.json", "code/api/main.py")
    subprocess.run(["git", "init", "--quiet", folder / "code"], check=True)
    return folder

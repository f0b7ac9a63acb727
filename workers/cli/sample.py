"""Sample data that looks like Geometra AI's: made on the spot from a seed, and changed as a day of work changes it."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

_WORDS = "mesh vertex embed request session render cache index vector tensor chunk prompt solid curve edge".split()
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Geometra",
    "GIT_AUTHOR_EMAIL": "team@geometra.example",
    "GIT_COMMITTER_NAME": "Geometra",
    "GIT_COMMITTER_EMAIL": "team@geometra.example",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


class Sample:
    """The folders of one application below `folder`. `megabytes` of float weights, and some of everything else."""

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        self.folder, self._megabytes = folder, megabytes
        self._random = random.Random(1)  # noqa: S311  # sample data, not secrets
        self.has_git = shutil.which("git") is not None

    def make(self) -> None:
        self._config()
        self._logs()
        self._models()
        self._docs()
        self._test_data()
        if self.has_git:
            self._repository()

    def work(self) -> None:
        """A day: logs grow and rotate, a model is tuned, code is committed, a setting changes."""
        logs = self.folder / "logs"
        (logs / "worker.log").rename(logs / "worker.log.1")
        self._write_log(logs / "worker.log", 4_000)
        self._write_log(logs / "api.log", 5_000)
        model = min((self.folder / "models").glob("*.safetensors"))
        size = model.stat().st_size
        with model.open("r+b") as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(self._weights(size // 25 // 4))
        with (self.folder / "config" / "geometra.toml").open("a", encoding="utf-8") as config:
            config.write("\n[experiments]\nremesh = true\n")
        if self.has_git:
            code = self.folder / "geometra"
            (code / "remesh.py").write_text('"""Remeshing."""\n\n\ndef remesh(mesh):\n    return mesh\n')
            self._git("add", "-A")
            self._git("commit", "-qm", "Add remeshing")
            (code / "notes.txt").write_text("not committed yet\n")

    def _config(self) -> None:
        config = self.folder / "config"
        (config / "services").mkdir(parents=True)
        text = '[app]\nname = "geometra"\nworkers = 4\n\n[chroma]\npath = "/data/chroma"\n'
        (config / "geometra.toml").write_text(text)
        for name in ("api", "worker", "renderer", "embedder"):
            text = f"service: {name}\nreplicas: {self._random.randint(1, 8)}\nlog_level: info\n"
            (config / "services" / f"{name}.yaml").write_text(text)
        secret = config / ".env"
        secret.write_text("POSTGRES_PASSWORD=sample-only\n")
        secret.chmod(0o600)
        (config / "current.toml").symlink_to("geometra.toml")

    def _logs(self) -> None:
        logs = self.folder / "logs"
        logs.mkdir()
        for name in ("api", "worker", "renderer"):
            self._write_log(logs / f"{name}.log", 40_000)
        self._write_log(logs / "api.log.2", 10_000)
        with (logs / "api.log.2").open("rb") as plain, gzip.open(logs / "api.log.2.gz", "wb", 6) as packed:
            shutil.copyfileobj(plain, packed)
        (logs / "api.log.2").unlink()

    def _write_log(self, path: Path, lines: int) -> None:
        pick = self._random
        with path.open("a", encoding="utf-8") as log:
            for number in range(lines):
                second = pick.randrange(86_400)
                clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
                what, request, took = pick.choice(_WORDS), pick.getrandbits(48), pick.randrange(1, 900)
                log.write(f"2026-11-22T{clock}Z INFO {what} request={request:012x} took={took}ms n={number}\n")

    def _models(self) -> None:
        models = self.folder / "models"
        models.mkdir()
        each = self._megabytes * 1_000_000 // 3
        for name in ("embedder", "mesh-encoder"):
            self._safetensors(models / f"{name}.safetensors", self._weights(each // 4), "F32")
        half = bytearray(self._weights(each // 2))
        # bfloat16 is the upper half of float32.
        packed = bytearray(len(half) // 2)
        packed[0::2], packed[1::2] = half[2::4], half[3::4]
        self._safetensors(models / "renderer-bf16.safetensors", bytes(packed), "BF16")
        (models / "tokenizer.json").write_text(json.dumps({word: at for at, word in enumerate(_WORDS * 50)}))
        os.link(models / "embedder.safetensors", models / "embedder-latest.safetensors")

    def _weights(self, count: int) -> bytes:
        from tasks.numbers import numpy

        generator = numpy.random.default_rng(self._random.getrandbits(32))
        return bytes(generator.normal(0, 0.02, count).astype(numpy.float32).tobytes())

    def _safetensors(self, path: Path, data: bytes, kind: str) -> None:
        width = 4 if kind == "F32" else 2
        tensor = {"dtype": kind, "shape": [len(data) // width], "data_offsets": [0, len(data)]}
        header = json.dumps({"weight": tensor}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + data)

    def _docs(self) -> None:
        docs = self.folder / "docs"
        (docs / "guides").mkdir(parents=True)
        for number in range(120):
            text = " ".join(self._random.choice(_WORDS) for _ in range(400))
            (docs / "guides" / f"chapter-{number:03}.md").write_text(f"# Chapter {number}\n\n{text}\n")

    def _test_data(self) -> None:
        data = self.folder / "test-data"
        data.mkdir()
        for number in range(300):
            points = [[round(self._random.uniform(-1, 1), 4) for _ in range(3)] for _ in range(40)]
            (data / f"mesh-{number:04}.json").write_text(json.dumps({"vertices": points}))
        with (data / "sparse.bin").open("wb") as sparse:
            sparse.truncate(8 << 20)
            sparse.seek(4 << 20)
            sparse.write(b"geometry in the middle")

    def _repository(self) -> None:
        code = self.folder / "geometra"
        code.mkdir()
        self._git("init", "-q", "-b", "main")
        for number in range(25):
            body = "\n".join(f"    {word} = {self._random.random():.6f}" for word in self._random.sample(_WORDS, 6))
            (code / f"module_{number % 12}.py").write_text(f'"""Module."""\n\n\ndef run():\n{body}\n')
            self._git("add", "-A")
            self._git("commit", "-qm", f"Change {number}")
        self._git("tag", "-a", "v1.0", "-m", "First release")
        self._git("branch", "feature/remesh")

    def _git(self, *arguments: str) -> None:
        code = self.folder / "geometra"
        subprocess.run(["git", *arguments], cwd=code, env=os.environ | _IDENTITY, check=True, capture_output=True)

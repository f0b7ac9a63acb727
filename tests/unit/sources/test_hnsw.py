"""The rows of a vector index are told by the header beside them; what does not fit together is taken as plain bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tasks.item import Item
from tasks.sources.docs import Docs, DocsSettings
from tasks.sources.hnsw import columns

FIELDS = "<6QiI3QdQ"
ROW = 132 + 1536 + 8
START = (32).to_bytes(4, "little")


def header(**differing: int) -> bytes:
    """As Chroma 1.5 writes it for 384 floats a vector, with 16 links asked for."""
    fields = {"start": 0, "greatest": 131_072, "present": 50, "row": ROW, "label": 132 + 1536, "vector": 132}
    fields |= {"level": 4, "entry": 7, "upper": 16, "most": 32, "asked": 16} | differing
    return struct.pack("<i", 1) + struct.pack(FIELDS, *fields.values(), 0.36, 100)


def test_links_vector_and_label_are_told_apart_with_and_without_a_version() -> None:
    assert columns(header(), START, 50 * ROW) == (132, 1536, 8)
    assert columns(header()[4:], START, 50 * ROW) == (132, 1536, 8)


def test_a_deleted_row_is_a_row() -> None:
    assert columns(header(), bytes([32, 0, 1, 0]), 50 * ROW) == (132, 1536, 8)


@pytest.mark.parametrize(
    ("beside", "start", "size"),
    [
        (b"", START, 50 * ROW),
        (header()[:-1], START, 50 * ROW),
        (bytes(100), START, 50 * ROW),
        (b"\xff" * 100, START, 50 * ROW),
        (header(), START, 50 * ROW + 1),
        (header(), START, 0),
        (header(), b"", 0),
        (header(), b"\x21\0\0\0", 50 * ROW),
        (header(vector=136), START, 50 * ROW),
        (header(label=132, row=140), START, 50 * 140),
        (header(row=ROW + 8), START, 50 * (ROW + 8)),
        (header(present=0), START, 50 * ROW),
        (header(greatest=10), START, 50 * ROW),
        (header(most=1 << 60), START, 50 * ROW),
    ],
)
def test_what_does_not_fit_is_no_index(beside: bytes, start: bytes, size: int) -> None:
    assert columns(beside, start, size) == ()


def listed(folder: Path) -> dict[bytes, Item]:
    return {item.entry.path: item for item in Docs("docs", DocsSettings(kind="docs", paths=(folder,))).capture()}


def index(folder: Path, rows: bytes, beside: bytes | None) -> None:
    folder.mkdir(parents=True)
    (folder / "data_level0.bin").write_bytes(rows)
    if beside is not None:
        (folder / "header.bin").write_bytes(beside)


def test_a_walk_hints_at_the_columns_of_every_index_it_meets(tmp_path: Path) -> None:
    rows = (START + bytes(ROW - 4)) * 50
    index(tmp_path / "s" / "one", rows, header())
    index(tmp_path / "s" / "without header", rows, None)
    index(tmp_path / "s" / "half written", rows[:-5], header())
    index(tmp_path / "s" / "something else", b"notes", b"more notes")
    (tmp_path / "s" / "two").mkdir()
    (tmp_path / "s" / "two" / "data_level0.bin").hardlink_to(tmp_path / "s" / "one" / "data_level0.bin")
    (tmp_path / "s" / "three").mkdir()
    (tmp_path / "s" / "three" / "header.bin").symlink_to(tmp_path / "s" / "one" / "header.bin")
    (tmp_path / "s" / "three" / "data_level0.bin").write_bytes(rows)
    found = {path: item.columns for path, item in listed(tmp_path / "s").items()}
    assert found.pop(b"s/one/data_level0.bin") == (132, 1536, 8)
    assert set(found.values()) == {()}, "no header, no fit, another name of a file, or a header that is a link"


def test_a_file_that_is_captured_alone_is_taken_as_it_is(tmp_path: Path) -> None:
    index(tmp_path / "s", START * 500, None)
    (item,) = listed(tmp_path / "s" / "data_level0.bin").values()
    assert item.columns == ()

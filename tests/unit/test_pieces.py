"""Pieces of a large file: cut as all of it is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from blake3 import blake3

from tasks.content_digest import content_digest
from tasks.item import Stored
from tasks.pieces import Large, Piece, PieceCapture, alone
from tasks.repository import Part, chunker
from tasks.repository.saved import Saved
from tasks.sources.filetree import FileTreeSettings
from tasks.sources.models import Models
from tests.repositories import about, create, local

PATH = b"models/a"


class Noting(PieceCapture):
    cut = ""

    def stored(self, item: Stored) -> None:
        super().stored(item)
        self.cut = item.entry.cut


@pytest.mark.parametrize("pieces", [2, 3])
def test_each_piece_is_cut_as_the_whole_file_whatever_the_last_snapshot_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "a"
    file.write_bytes(b"SQLite format 3\0\x10\0" + random.Random(1).randbytes((12 << 20) - 18))
    source = Models("x", FileTreeSettings.model_validate({"kind": "models", "paths": [str(file.parent)]}))
    repository = create(local(tmp_path / "there"))
    before = repository.save(source.capture(), about(0), repository.destination)
    assert [item.entry.cut for item in repository.read(before) if item.entry.path == PATH] == ["p8"]

    monkeypatch.setattr(chunker, "MOST_CHUNKS", 1 << 10)
    parts = Large(PATH, (2, 2), file.stat().st_size, "p16", want_digest=False, pieces=pieces).parts()
    assert len(parts) == pieces
    for piece in parts:
        assert isinstance(piece, Piece)
        capture = Noting(source.capture_stretch(alone(PATH)), piece)
        repository.store(capture, repository.destination, start=PATH)
        assert capture.cut == "p16"


@pytest.mark.parametrize(
    ("noted", "kept"), [(content_digest(b"x"), content_digest(b"x")), (blake3(b"x").digest(), b"")]
)
def test_a_digest_that_an_earlier_build_read_before_an_update_counts_as_none(noted: bytes, kept: bytes) -> None:
    large = Large(PATH, (2, 2), 1, "c64", want_digest=True)
    parts = [Part(Saved(), facts={"digest": noted.hex(), "sound": True}), Part(Saved(), facts={"sound": True})]
    whole = large.joined(parts)
    assert whole
    assert whole.digest == kept

"""FORMAT.md and what is stored are one: read here by what it says, by public libraries, and by nothing of ours."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.public import PrivateKey, SealedBox
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from tasks.repository import Repository
from tests.memory_source import File
from tests.repositories import PASSPHRASE, SOURCE, keys, local, save
from tests.unit.repository.pruned import noise

TEXT = (Path(__file__).parents[3] / "tasks/repository/FORMAT.md").read_text()
DATA = b"of a sparse file" * 256
FILES = {
    b"large": File(noise(2, 900_000)),
    b"small": File(b"of a small file\n" * 90, entry={"user": "caf\udce9", "xattrs": ((b"user.a", b"\xff"),)}),
    b"sparse": File(DATA, entry={"size": 1 << 20, "extents": ((4096, len(DATA)),)}),
}


def derived(purpose: str, key: bytes) -> bytes:
    return blake3(key, derive_key_context=f"geometra-backup 1 {purpose}").digest()


class Reader:
    """A repository in a folder, by a passphrase. Knows the methods 0 and 1."""

    def __init__(self, folder: Path, passphrase: str) -> None:
        self.folder = folder
        self.marker = json.loads((folder / "repository").read_bytes())
        document = (folder / "keys" / self.marker["keyring"]).read_bytes()
        assert blake3(document).hexdigest() == self.marker["document"]
        self.document = json.loads(document)
        held = self.document["private"]
        salt, box = (base64.b64decode(held[name]) for name in ("salt", "box"))
        wrapping = argon2id.kdf(32, passphrase.encode(), salt, held["operations"], held["memory"])
        self.box = SealedBox(PrivateKey(derived("encryption", SecretBox(wrapping).decrypt(box))))
        secret = self.box.decrypt(base64.b64decode(self.document["writer"]))
        identity = blake3(b"repository:" + SOURCE.encode(), key=secret).digest(16)
        assert identity.hex() == self.marker["id"]
        self.keys = {"D": derived("naming", secret + identity), "L": derived("listing", secret + identity)}
        self.metadata = derived("metadata", secret + identity)
        self.chunks = {
            name: chunk for path in sorted((folder / "index").iterdir()) for name, chunk in self.stored(path)
        }

    def opened(self, path: Path) -> bytes:
        data, name = path.read_bytes(), path.relative_to(self.folder).as_posix()
        assert data[:4] == b"GBO1"
        key = blake3(data[4:36], key=self.metadata).digest()
        return zstandard.decompress(AESGCM(key).decrypt(bytes(12), data[36:], name.encode()))

    def stored(self, index: Path) -> Iterator[tuple[bytes, bytes]]:
        for name, size, kind, blocks, names, lengths in msgpack.unpackb(self.opened(index)):
            pack = (self.folder / "packs" / name.hex()[:2] / name.hex()).read_bytes()
            assert (len(pack), pack[:5], pack[-4:]) == (size, b"GBP1" + kind.encode(), b"GBPE")
            at = 5 + (80 if kind == "D" else 32)
            key = self.box.decrypt(pack[5:at]) if kind == "D" else blake3(pack[5:at], key=self.metadata).digest()
            footer = pack[-8 - struct.unpack("<I", pack[-8:-4])[0] : -8]
            assert blake3(footer).digest(16) == name
            listed = AESGCM(key).decrypt(struct.pack("<I8x", 0xFFFF_FFFF), footer, pack[:at])
            assert msgpack.unpackb(zstandard.decompress(listed)) == [blocks, names, lengths]
            pending = iter(struct.unpack(f"<{len(lengths) // 4}I", lengths))
            named = (names[start : start + 16] for start in range(0, len(names), 16))
            for number, (sealed, decoded, word) in enumerate(struct.iter_unpack("<3I", blocks)):
                nonce = struct.pack("<IB7x", number, word & 255)
                plain = AESGCM(key).decrypt(nonce, pack[at : at + sealed], None)
                assert word & 255 in (0, 1)
                block = io.BytesIO(zstandard.decompress(plain) if word & 255 else plain)
                at += sealed
                for _ in range(word >> 8):
                    chunk, chunk_name = block.read(next(pending)), next(named)
                    assert blake3(chunk, key=self.keys[kind]).digest(16) == chunk_name
                    yield chunk_name, chunk
                assert block.tell() == decoded
                assert not block.read(1)

    def listed(self, level: int, content: bytes) -> Iterator[bytes]:
        for at in range(0, len(content), 16):
            chunk = self.chunks[content[at : at + 16]]
            yield from self.listed(level - 1, chunk) if level else (chunk,)

    def items(self, snapshot: dict[str, Any]) -> Iterator[list[Any]]:
        for group in self.listed(snapshot["level"], bytes.fromhex(snapshot["content"])):
            yield from msgpack.Unpacker(io.BytesIO(group), unicode_errors="surrogateescape")


def test_what_is_stored_is_read_by_what_the_document_says(tmp_path: Path) -> None:
    repository = Repository.create_or_open(local(tmp_path), SOURCE, keys().reader, keys().document)
    save(repository, FILES, 0)
    save(repository, FILES | {b"added": File(noise(3, 80_000))}, 1)
    reader = Reader(tmp_path / SOURCE, PASSPHRASE)
    snapshots = [json.loads(reader.opened(path)) for path in sorted((tmp_path / SOURCE / "snapshots").iterdir())]
    contents = [
        {path: b"".join(reader.listed(level, content)) for path, *_, level, content, _ in reader.items(snapshot)}
        for snapshot in snapshots
    ]
    expected = {path: file.content for path, file in FILES.items()}
    assert contents == [expected, {b"added": noise(3, 80_000)} | expected]
    _, _, small, sparse = reader.items(snapshots[1])
    assert (small[5], small[14]["x"]) == ("caf\udce9", [[b"user.a", b"\xff"]])
    assert (sparse[8], sparse[14]["e"]) == (1 << 20, [[4096, len(DATA)]])
    _are_all_named("Objects", reader.marker)
    _are_all_named("Keys", reader.document, reader.document["private"])
    _are_all_named("Sealed objects", snapshots[0])


def _are_all_named(section: str, *written: dict[str, object]) -> None:
    """What is written there, by a name that is written so in the document."""
    told = set(re.findall(r"`(\w+)`", TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]))
    assert {name for each in written for name in each} <= told

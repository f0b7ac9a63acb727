"""FORMAT.md and what is stored are one: read here by what it says, by public libraries, and by nothing of ours."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import struct
from array import array
from collections.abc import Callable, Iterator
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


def joined(planes: list[bytes]) -> bytes:
    found = bytearray(sum(map(len, planes)))
    for at, plane in enumerate(planes):
        found[at :: len(planes)] = plane
    return bytes(found)


def stretches(data: bytes, lengths: list[int]) -> tuple[list[bytes], bytes]:
    found, at = list[bytes](), 4 * len(lengths)
    for length, stored in zip(lengths, struct.unpack_from(f"<{len(lengths)}I", data), strict=True):
        part, at = data[at : at + stored], at + stored
        found.append(part if stored == length else zstandard.decompress(part))
    return found, data[at:]


def from_planes(data: bytes, size: int, width: int) -> bytes:
    planes, rest = stretches(data, [size // width] * width)
    return joined(planes) + rest


def from_floats(data: bytes) -> bytes:
    end = 4 + int.from_bytes(data[:4], "little")
    first = zstandard.decompress(data[4:end])
    count = int.from_bytes(first[:4], "little")
    gaps, lengths = (struct.unpack_from(f"<{count}I", first, 4 + 4 * count * at) for at in range(2))
    lanes, rest = first[4 + 8 * count : 4 + 9 * count], io.BytesIO(first[4 + 9 * count :])
    each = {lane: 4 * sum(long for long, its in zip(lengths, lanes, strict=True) if its == lane) for lane in range(4)}
    planes, nothing = stretches(data[end:], [long for long in each.values() if long for _ in range(4)])
    assert not nothing
    floats = {
        lane: io.BytesIO(joined(planes[4 * at : 4 * at + 4]))
        for at, lane in enumerate(lane for lane, long in each.items() if long)
    }
    runs = zip(gaps, lengths, lanes, strict=True)
    return b"".join(rest.read(16 * gap) + floats[lane].read(16 * long) for gap, long, lane in runs) + rest.read()


def from_deltas(data: bytes, size: int) -> bytes:
    width, distance, phase = data[:3]
    count = (size - phase) // width
    planes, beside = stretches(data[3:], [count] * width)
    stored, numbers = joined(planes), list[int]()
    for at in range(count):
        folded = int.from_bytes(stored[at * width : (at + 1) * width], "little")
        before = numbers[at - distance] if at >= distance else 0
        numbers.append((before + (-(folded + 1) // 2 if folded % 2 else folded // 2)) % 256**width)
    return beside[:phase] + b"".join(each.to_bytes(width, "little") for each in numbers) + beside[phase:]


DECODED: dict[int, Callable[[bytes, int], bytes]] = {
    0: lambda data, _: data,
    1: lambda data, _: zstandard.decompress(data),
    6: lambda data, size: from_planes(data, size, 2),
    7: lambda data, size: from_planes(data, size, 4),
    8: lambda data, size: from_planes(data, size, 8),
    9: lambda data, _: from_floats(data),
    10: from_deltas,
}


def in_rows(stored: bytes, order: list[int]) -> bytes:
    """Out of columns."""
    form, length, rows, *widths = order
    assert form == 1
    left, found = io.BytesIO(stored), bytearray()
    while len(found) < length:
        some = min(rows, (length - len(found)) // sum(widths))
        columns = [left.read(some * width) for width in widths]
        for at in range(some):
            for column, width in zip(columns, widths, strict=True):
                found += column[at * width : (at + 1) * width]
    return bytes(found) + left.read()


class Reader:
    """A repository in a folder, by a passphrase."""

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
        self.methods = set[int]()
        self.chunks = {
            name: chunk for path in sorted((folder / "index").iterdir()) for name, chunk in self.stored(path)
        }

    def opened(self, path: Path) -> bytes:
        data, name = path.read_bytes(), path.relative_to(self.folder).as_posix()
        assert data[:4] in ((b"GBO1", b"GBO2") if name.startswith("snapshots/") else (b"GBO1",))
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
                self.methods.add(word & 255)
                block = io.BytesIO(DECODED[word & 255](plain, decoded))
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


def _encoded() -> dict[bytes, File]:
    """Files for each of which there is another way to be stored."""
    dice = random.Random(5)
    floats = [array("f", (dice.gauss(0, 0.02) for _ in range(20_000))).tobytes() for _ in range(8)]
    walk = array("h", (0 for _ in range(150_000)))
    for at in range(2, len(walk)):
        walk[at] = max(-30_000, min(30_000, walk[at - 2] + dice.randrange(-90, 91)))
    rows = b"".join(dice.randbytes(8) + bytes([at % 7, at % 5]) * 6 for at in range(9000))
    return {
        b"halves": File(b"".join(struct.pack("<e", dice.gauss(0, 0.02)) for _ in range(150_001)) + b"x"),
        b"floats": File(b"".join(floats) + b"xyz"),
        b"doubles": File(array("d", (dice.gauss(0, 0.02) for _ in range(60_000))).tobytes() + b"xyz"),
        b"apart": File(b"".join(each + b"some text %d" % at * 900 + b"x" * at for at, each in enumerate(floats))),
        b"walk": File(b"z" + walk.tobytes()),
        b"rows": File(rows + b"behind", columns=(8, 12), expected=len(rows)),
    }


def test_each_way_to_encode_is_the_one_of_the_document(tmp_path: Path) -> None:
    repository = Repository.create_or_open(local(tmp_path), SOURCE, keys().reader, keys().document)
    files = _encoded()
    for night, (path, file) in enumerate(files.items()):
        save(repository, {path: file}, night)  # or they would share a block
    reader = Reader(tmp_path / SOURCE, PASSPHRASE)
    for snapshot in sorted((tmp_path / SOURCE / "snapshots").iterdir()):
        ((path, *_, level, content, rare),) = reader.items(json.loads(reader.opened(snapshot)))
        found = b"".join(reader.listed(level, content))
        assert (in_rows(found, rare["T"]) if path == b"rows" else found) == files.pop(path).content
    assert not files
    assert reader.methods >= DECODED.keys() - {0}


def _are_all_named(section: str, *written: dict[str, object]) -> None:
    """What is written there, by a name that is written so in the document."""
    told = set(re.findall(r"`(\w+)`", TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]))
    assert {name for each in written for name in each} <= told

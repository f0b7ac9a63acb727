"""The keyring: who may name, write, read and prove. Derivations and documents as in FORMAT.md."""

from __future__ import annotations

import base64
import binascii
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from blake3 import blake3
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.pwhash import argon2id
from nacl.secret import SecretBox
from nacl.signing import SigningKey, VerifyKey

from tasks.errors import Damaged, NewerFormat, Refused, WrongKey
from tasks.repository import recovery_sheet
from tasks.secret import plain

FORMAT = 1
_ARGON2_OPERATIONS, _ARGON2_MEMORY = 3, 64 << 20
"""The second option that RFC 9106 recommends, in section 4, but for its lanes: libsodium has one."""
_ONCE_TAKEN_AS = ("{}", "{}\n", "{}\r\n", "{}\r", "\ufeff{}")
"""What keys were made with before they were of what a person types: with what a variable or a file has around it."""

_UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What JSON that is not as it was written trips whoever reads it with; whoever owns the place may write any."""

_WRITER_TAG = "geometra-backup-writer-1"


def derive(purpose: str, material: bytes) -> bytes:
    """32 bytes for one purpose; BLAKE3's key derivation mode."""
    return blake3(material, derive_key_context=f"geometra-backup {FORMAT} {purpose}").digest()


@dataclass(frozen=True, slots=True)
class RepositoryKeys:
    """The keys of one repository, derived from its `writer`'s, who may be a reader too."""

    writer: WriterKey
    identity: bytes
    naming: bytes = field(repr=False)
    listing: bytes = field(repr=False)
    metadata: bytes = field(repr=False)
    cutting: int = field(repr=False)


@dataclass(frozen=True)
class WriterKey:
    """What a worker that backs up holds: it can add to a repository and list it, and read no content."""

    keyring: str
    public: bytes
    verify: bytes
    secret: bytes = field(repr=False)

    def for_source(self, source: str) -> RepositoryKeys:
        identity = blake3(b"repository:" + source.encode(), key=self.secret).digest(16)
        material = self.secret + identity
        return RepositoryKeys(
            writer=self,
            identity=identity,
            naming=derive("naming", material),
            listing=derive("listing", material),
            metadata=derive("metadata", material),
            cutting=int.from_bytes(derive("cutting", material)[:8], "little") & ((1 << 62) - 1),
        )

    def as_reader(self) -> ReaderKey:
        """Raises `Refused` where only the writer's key is held."""
        raise Refused("this needs the private key: give the passphrase (`keys.passphrase` in backup.toml)")

    def seal_pack_key(self, key: bytes) -> bytes:
        """80 bytes that only the holder of the private key opens."""
        return bytes(SealedBox(PublicKey(self.public)).encrypt(key))

    def verified(self, name: str, text: bytes, signature: bytes) -> bool:
        """Whether `text` was signed for the object `name` by a holder of the private key."""
        try:
            VerifyKey(self.verify).verify(name.encode() + b"\0" + text, signature)
        except (BadSignatureError, TypeError, ValueError):
            return False
        return True

    def to_text(self) -> str:
        """The content of `writer.key`: a secret."""
        parts = (base64.b64encode(part).decode() for part in (self.public, self.verify, self.secret))
        return " ".join((_WRITER_TAG, self.keyring, *parts)) + "\n"

    @classmethod
    def from_text(cls, text: str) -> WriterKey:
        """Raises `WrongKey`."""
        try:
            tag, keyring, *parts = text.split()
            public, verify, secret = (base64.b64decode(part, validate=True) for part in parts)
        except (ValueError, binascii.Error):
            raise WrongKey("this is no writer key: it must be the one line that `init` wrote to `writer.key`") from None
        if tag != _WRITER_TAG or any(len(part) != 32 for part in (public, verify, secret)):
            raise WrongKey("this is no writer key: it must be the one line that `init` wrote to `writer.key`")
        return WriterKey(keyring, public, verify, secret)


@dataclass(frozen=True)
class ReaderKey(WriterKey):
    """A writer key, and the private key: reads contents, signs proofs, prunes."""

    seed: bytes = field(repr=False, kw_only=True)

    @cached_property
    def _box(self) -> SealedBox[PrivateKey]:
        return SealedBox(PrivateKey(derive("encryption", self.seed)))

    @cached_property
    def _signing(self) -> SigningKey:
        return SigningKey(derive("signing", self.seed))

    def as_reader(self) -> ReaderKey:
        return self

    def open_pack_key(self, sealed: bytes) -> bytes:
        """Raises `WrongKey`."""
        try:
            return self._box.decrypt(sealed)
        except CryptoError:
            raise WrongKey("a pack's key does not open: the pack belongs to another keyring, or is damaged") from None

    def sign(self, name: str, text: bytes) -> bytes:
        return self._signing.sign(name.encode() + b"\0" + text).signature

    def recovery_sheet(self) -> str:
        """The seed in groups of four letters, to be printed and locked away: whoever has it can read everything."""
        return recovery_sheet.printed(self.seed)


def create_keys(passphrase: str) -> tuple[bytes, WriterKey, str]:
    """A new keyring: its document (public), the writer key (secret) and the recovery sheet (most secret)."""
    typed = _encoded(plain(passphrase))
    if not typed:
        raise WrongKey("an empty passphrase protects nothing: choose one of several words")
    seed, secret, salt = os.urandom(32), os.urandom(32), os.urandom(argon2id.SALTBYTES)
    private, signing = PrivateKey(derive("encryption", seed)), SigningKey(derive("signing", seed))
    public, verify = bytes(private.public_key), bytes(signing.verify_key)
    keyring = os.urandom(8).hex()
    wrapping = argon2id.kdf(32, typed, salt, opslimit=_ARGON2_OPERATIONS, memlimit=_ARGON2_MEMORY)
    document = {
        "format": FORMAT,
        "id": keyring,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "public_key": _encode(public),
        "verify_key": _encode(verify),
        "private": {
            "kdf": "argon2id",
            "salt": _encode(salt),
            "operations": _ARGON2_OPERATIONS,
            "memory": _ARGON2_MEMORY,
            "box": _encode(SecretBox(wrapping).encrypt(seed)),
        },
        "writer": _encode(SealedBox(private.public_key).encrypt(secret)),
    }
    reader = ReaderKey(keyring, public, verify, secret, seed=seed)
    text = (json.dumps(document, indent=2) + "\n").encode()
    return text, WriterKey(keyring, public, verify, secret), reader.recovery_sheet()


def keyring_of(document: bytes) -> str:
    """The id of the keyring that a document describes. Raises `Damaged`, `NewerFormat`."""
    return str(_document(document)["id"])


def check_document(document: bytes, writer: WriterKey) -> None:
    """Raises `Damaged` or `NewerFormat` unless the document is that of the writer's keyring, as far as it can be told
    without a passphrase."""
    fields = _document(document)
    if (fields["id"], fields["public_key"], fields["verify_key"]) != (
        writer.keyring,
        _encode(writer.public),
        _encode(writer.verify),
    ):
        raise Damaged("the keyring document is another's, or was changed: put `keyring.json` of this keyring there")


def open_keys(document: bytes, *, passphrase: str | None = None, sheet: str | None = None) -> ReaderKey:
    """The private key, by passphrase or by recovery sheet. Raises `WrongKey`, `Damaged`, `NewerFormat`."""
    fields = _document(document)
    seed = recovery_sheet.seed_of(sheet) if sheet is not None else _seed_of_passphrase(fields, passphrase or "")
    private, signing = PrivateKey(derive("encryption", seed)), SigningKey(derive("signing", seed))
    public, verify = bytes(private.public_key), bytes(signing.verify_key)
    if (_encode(public), _encode(verify)) != (fields["public_key"], fields["verify_key"]):
        if sheet is not None:
            raise WrongKey("the recovery sheet belongs to another keyring")
        raise Damaged("the keyring document does not fit its own private key: take `keyring.json` from another copy")
    try:
        secret = SealedBox(private).decrypt(_decode(fields["writer"]))
    except (CryptoError, TypeError, ValueError):
        raise Damaged("the keyring document's writer part is damaged: take it from another destination") from None
    return ReaderKey(str(fields["id"]), public, verify, secret, seed=seed)


def _seed_of_passphrase(fields: dict[str, str], passphrase: str) -> bytes:
    for form in _ONCE_TAKEN_AS:
        with suppress(CryptoError):
            return _opened(fields, _encoded(form.format(plain(passphrase))))
    raise WrongKey("wrong passphrase: it does not open this keyring (the recovery sheet would)")


def _encoded(passphrase: str) -> bytes:
    try:
        return passphrase.encode()
    except UnicodeEncodeError:
        raise WrongKey(
            "the passphrase is no text in UTF-8: the variable that holds it was set in another one"
        ) from None


def _opened(fields: dict[str, str], passphrase: bytes) -> bytes:
    """Raises `CryptoError` where it is another passphrase."""
    try:
        private: dict[str, str] = fields["private"]  # type: ignore[assignment]  # JSON: the one nested part
        operations, memory = int(private["operations"]), int(private["memory"])
        salt, box = _decode(private["salt"]), _decode(private["box"])
        if operations > 64 or memory > 4 << 30:
            raise Damaged("the keyring document asks for an absurd amount of memory or time; take it from another copy")
        wrapping = argon2id.kdf(32, passphrase, salt, opslimit=operations, memlimit=memory)
    except _UNREADABLE:
        raise Damaged("the keyring document's private part is damaged: take `keyring.json` from another copy") from None
    return SecretBox(wrapping).decrypt(box)


def _document(document: bytes) -> dict[str, str]:
    try:
        fields = json.loads(document)
        version = int(fields["format"])
    except _UNREADABLE:
        raise Damaged("the keyring document is not readable: take `keyring.json` from another copy") from None
    if version > FORMAT:
        raise NewerFormat(f"the keyring has format {version}; this version reads up to {FORMAT}: upgrade first")
    if not {"id", "public_key", "verify_key", "private", "writer"} <= fields.keys():
        raise Damaged("the keyring document lacks a part: take `keyring.json` from another copy")
    return dict(fields)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text)

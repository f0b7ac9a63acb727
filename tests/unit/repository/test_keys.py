"""Who holds which key can do what, and nothing more; wrong and damaged keys are told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import BackupError, Damaged, NewerFormat, WrongKey
from tasks.repository import ReaderKey, WriterKey, create_keys, open_keys
from tasks.repository.keys import keyring_of
from tests.repositories import PASSPHRASE, keys, other_keys

PARTS = ["id", "public_key", "verify_key", "private", "writer"]


def altered(**parts: Any) -> bytes:
    fields = json.loads(keys().document)
    return json.dumps({**fields, **parts}).encode()


def test_passphrase_and_sheet_open_the_same_key() -> None:
    by_sheet = open_keys(keys().document, sheet=keys().sheet)
    assert by_sheet == keys().reader
    assert by_sheet.recovery_sheet() == keys().sheet
    assert WriterKey.from_text(keys().reader.to_text()) == keys().writer


def test_a_sheet_may_be_typed_carelessly() -> None:
    for typed in (keys().sheet.lower(), keys().sheet.replace(" ", ""), "\t" + keys().sheet.replace(" ", "\n\n")):
        assert open_keys(keys().document, sheet=typed) == keys().reader


@given(at=st.integers(0, 55), letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_letter_of_a_sheet_is_noticed(at: int, letter: str) -> None:
    code = keys().sheet.replace(" ", "").replace("\n", "")
    typed = code[:at] + letter + code[at + 1 :]
    if typed == code:
        return
    with pytest.raises(WrongKey):
        open_keys(keys().document, sheet=typed)


@pytest.mark.parametrize("sheet", ["", "AAAA", "not a sheet at all!", "A" * 56, "é" * 56, "A" * 55, "1" * 56])
def test_what_is_no_sheet_is_refused(sheet: str) -> None:
    with pytest.raises(WrongKey):
        open_keys(keys().document, sheet=sheet)


@pytest.mark.parametrize("passphrase", ["", "wrong", PASSPHRASE + " ", PASSPHRASE.upper()])
def test_a_wrong_passphrase_is_a_wrong_key(passphrase: str) -> None:
    with pytest.raises(WrongKey):
        open_keys(keys().document, passphrase=passphrase)


def test_the_sheet_of_another_keyring_is_a_wrong_key() -> None:
    with pytest.raises(WrongKey):
        open_keys(keys().document, sheet=other_keys().sheet)


def test_any_passphrase_of_any_script_works_but_an_empty_one() -> None:
    document, writer, _ = create_keys("пароль 密码 🔑")
    assert open_keys(document, passphrase="пароль 密码 🔑").to_text() == writer.to_text()
    with pytest.raises(WrongKey):
        create_keys("")


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "\ufeff{}\r\n"], ids=["variable", "windows", "editor"])
def test_what_a_variable_or_a_file_has_around_a_passphrase_is_no_part_of_it(around: str) -> None:
    document, writer, _ = create_keys(around.format("as it is typed"))
    assert open_keys(document, passphrase="as it is typed").to_text() == writer.to_text()
    assert open_keys(keys().document, passphrase=around.format(PASSPHRASE)) == keys().reader
    with pytest.raises(WrongKey, match="empty"):
        create_keys(around.format(""))


@pytest.mark.parametrize("form", ["{}\n", "{}\r\n", "{}\r", "\ufeff{}"])
def test_what_was_once_made_with_that_around_it_opens_for_who_types_it(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with monkeypatch.context() as once:
        once.setattr("tasks.repository.keys.plain", lambda passphrase: passphrase)
        document, writer, _ = create_keys(form.format("as it is typed"))
    assert open_keys(document, passphrase="as it is typed").to_text() == writer.to_text()


def test_a_passphrase_that_is_no_text_is_told_and_not_the_document() -> None:
    for attempt in (create_keys, lambda typed: open_keys(keys().document, passphrase=typed)):
        with pytest.raises(WrongKey, match="UTF-8"):
            attempt(b"gr\xfc\xdfe".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("part", PARTS)
def test_a_document_that_lacks_a_part_is_damaged(part: str) -> None:
    fields = json.loads(keys().document)
    del fields[part]
    for opening in ({"passphrase": PASSPHRASE}, {"sheet": keys().sheet}):
        with pytest.raises(Damaged):
            open_keys(json.dumps(fields).encode(), **opening)


@pytest.mark.parametrize("part", ["public_key", "verify_key", "writer"])
def test_parts_of_another_keyring_are_noticed(part: str) -> None:
    other = json.loads(other_keys().document)[part]
    with pytest.raises((Damaged, WrongKey)):
        open_keys(altered(**{part: other}), passphrase=PASSPHRASE)


def test_the_private_part_of_another_keyring_opens_nothing_here() -> None:
    """Both have the same passphrase here: what opens must still be what the document says it is."""
    other = json.loads(other_keys().document)["private"]
    with pytest.raises(Damaged):
        open_keys(altered(private=other), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "private",
    [
        None,
        [],
        {},
        {"salt": ""},
        {"kdf": "argon2id", "salt": "AAAA", "operations": 4, "memory": 1 << 26, "box": "AAAA"},
        {"kdf": "argon2id", "salt": "?", "operations": 4, "memory": 1 << 26, "box": "?"},
        {"kdf": "argon2id", "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "operations": "x", "memory": 1, "box": ""},
        {"kdf": "argon2id", "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "operations": 1 << 40, "memory": 1 << 26, "box": ""},
        {"kdf": "argon2id", "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "operations": 4, "memory": 1 << 50, "box": ""},
        {"kdf": "argon2id", "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "operations": 0, "memory": 0, "box": "AAAA"},
        {"kdf": "argon2id", "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "operations": -1, "memory": -1, "box": "AAAA"},
    ],
)
def test_a_tampered_private_part_is_one_clear_error(private: object) -> None:
    with pytest.raises(BackupError):
        open_keys(altered(private=private), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"null", b"5", b'{"format": "x"}', b'{"format": 1}', b"\xff" * 40]
)
def test_what_is_no_document_is_damaged(document: bytes) -> None:
    with pytest.raises(Damaged):
        open_keys(document, passphrase=PASSPHRASE)
    with pytest.raises(Damaged):
        keyring_of(document)


@given(at=st.integers(0, 4000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_document_opens_another_key(at: int, bit: int) -> None:
    document = bytearray(keys().document)
    document[at % len(document)] ^= 1 << bit
    try:
        opened = open_keys(bytes(document), sheet=keys().sheet)
    except BackupError:
        return
    assert (opened.public, opened.verify, opened.secret, opened.seed) == (
        keys().reader.public,
        keys().reader.verify,
        keys().reader.secret,
        keys().reader.seed,
    )


def test_a_newer_keyring_says_so() -> None:
    with pytest.raises(NewerFormat):
        open_keys(altered(format=2), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "geometra-backup-writer-1",
        "geometra-backup-writer-1 id AAAA AAAA AAAA",
        "geometra-backup-writer-1 id ? ? ?",
        "geometra-backup-writer-9 " + keys().writer.to_text().split(" ", 1)[1],
        keys().writer.to_text() + "more",
        keys().writer.to_text()[:-10],
        "é" * 30,
    ],
)
def test_what_is_no_writer_key_is_refused(text: str) -> None:
    with pytest.raises(WrongKey):
        WriterKey.from_text(text)


def test_the_text_of_a_readers_key_holds_only_the_writers_part() -> None:
    text = keys().reader.to_text()
    assert not isinstance(WriterKey.from_text(text), ReaderKey)
    assert keys().reader.seed.hex() not in text


@pytest.mark.parametrize("shown", [repr, str])
def test_no_secret_shows_when_a_key_is_printed(shown: Any) -> None:
    for held in (keys().reader, keys().writer, keys().reader.for_source("docs")):
        text = shown(held)
        for secret in (keys().writer.secret, keys().reader.seed, keys().writer.for_source("docs").naming):
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


def test_every_source_has_keys_of_its_own() -> None:
    docs, models = keys().writer.for_source("docs"), keys().writer.for_source("models")
    again = keys().reader.for_source("docs")
    assert (docs.identity, docs.naming, docs.listing, docs.metadata, docs.cutting) == (
        again.identity,
        again.naming,
        again.listing,
        again.metadata,
        again.cutting,
    )
    assert len({docs.naming, docs.listing, docs.metadata, models.naming, models.listing, models.metadata}) == 6
    assert docs.cutting != models.cutting
    assert 0 <= docs.cutting < 1 << 62


def test_a_pack_key_sealed_by_a_writer_opens_for_the_reader_only() -> None:
    sealed = keys().writer.seal_pack_key(b"k" * 32)
    assert len(sealed) == 80
    assert keys().reader.open_pack_key(sealed) == b"k" * 32
    with pytest.raises(WrongKey):
        other_keys().reader.open_pack_key(sealed)
    assert not hasattr(keys().writer, "open_pack_key")


def test_a_signature_is_bound_to_text_name_and_keyring() -> None:
    signature = keys().reader.sign("proofs/a/1", b"good")
    assert keys().writer.verified("proofs/a/1", b"good", signature)
    assert not keys().writer.verified("proofs/b/1", b"good", signature)
    assert not keys().writer.verified("proofs/a/1", b"bad", signature)
    assert not keys().writer.verified("proofs/a", b"/1\0good", signature)
    assert not keys().writer.verified("proofs/a/1", b"good", signature[:-1])
    assert not keys().writer.verified("proofs/a/1", b"good", b"")
    assert not other_keys().writer.verified("proofs/a/1", b"good", signature)

"""Sealed objects open under their own name, with their own key, whole; or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import Damaged, NewerFormat
from tasks.repository import sealing
from tasks.repository.sealing import seal, unseal, unseal_stream

KEY, NAME = bytes(range(32)), "snapshots/20261101T020000Z-00000000"


@given(st.binary(max_size=2000))
def test_what_was_sealed_opens(payload: bytes) -> None:
    assert unseal(KEY, NAME, seal(KEY, NAME, payload)) == payload


def test_a_large_payload_opens() -> None:
    payload = bytes(range(256)) * (40 << 10)
    assert unseal(KEY, NAME, seal(KEY, NAME, payload)) == payload


def test_a_payload_that_says_it_is_larger_than_any_is_not_even_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes of zstd may be gigabytes of zeros, and room for them is made by what the frame says of itself."""
    monkeypatch.setattr(sealing, "_GREATEST", 1000)
    assert unseal(KEY, NAME, seal(KEY, NAME, bytes(1000))) == bytes(1000)
    with pytest.raises(Damaged, match=NAME):
        unseal(KEY, NAME, seal(KEY, NAME, bytes(1001)))


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_payload_is_read_as_a_stream_too(size: int) -> None:
    payload = (bytes(range(256)) * 12_000)[:size]
    stream = unseal_stream(KEY, NAME, seal(KEY, NAME, payload))
    assert b"".join(iter(lambda: stream.read(100_000), b"")) == payload


def test_a_changed_one_is_not_even_begun() -> None:
    sealed = bytearray(seal(KEY, NAME, b"payload"))
    sealed[-1] ^= 1
    with pytest.raises(Damaged, match=NAME):
        unseal_stream(KEY, NAME, bytes(sealed))


def test_sealing_twice_gives_two_texts() -> None:
    assert seal(KEY, NAME, b"the same") != seal(KEY, NAME, b"the same")


@pytest.mark.parametrize("name", ["snapshots/20261101T020000Z-00000001", "index/00", "", NAME + "0"])
def test_another_name_does_not_open_it(name: str) -> None:
    with pytest.raises(Damaged):
        unseal(KEY, name, seal(KEY, NAME, b"payload"))


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Damaged):
        unseal(bytes(32), NAME, seal(KEY, NAME, b"payload"))


def test_every_flipped_byte_is_noticed() -> None:
    sealed = seal(KEY, NAME, b"payload")
    for at in range(len(sealed)):
        for bit in (0, 7):
            wrong = bytearray(sealed)
            wrong[at] ^= 1 << bit
            with pytest.raises((Damaged, NewerFormat)):
                unseal(KEY, NAME, bytes(wrong))


def test_every_missing_or_added_byte_is_noticed() -> None:
    sealed = seal(KEY, NAME, b"payload")
    for end in range(len(sealed)):
        with pytest.raises(Damaged):
            unseal(KEY, NAME, sealed[:end])
    with pytest.raises(Damaged):
        unseal(KEY, NAME, sealed + b"\0")
    with pytest.raises(Damaged):
        unseal(KEY, NAME, sealed + sealed)


def test_a_newer_format_says_so() -> None:
    with pytest.raises(NewerFormat):
        unseal(KEY, NAME, b"GBO2" + seal(KEY, NAME, b"payload")[4:])


@given(st.binary(max_size=100))
def test_noise_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        unseal(KEY, NAME, data)

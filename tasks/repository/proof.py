"""Proofs: what a verify or a drill found, signed by a holder of the private key, so that no writer can forge one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import msgpack

from tasks.destinations.destination import Destination
from tasks.errors import Damaged, Missing, NewerFormat, Refused
from tasks.repository.keys import RepositoryKeys
from tasks.repository.sealing import seal, unseal
from tasks.repository.snapshot import CLOCKS_DIFFER, is_ahead

_FOLDER = "proofs/"
_UNREADABLE = (Damaged, Missing, NewerFormat, ValueError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Proof:
    """`good`: the snapshot is complete and everything that was looked at is as it must be. `depth` says what that was;
    `findings` are lines for a person."""

    snapshot: str
    verb: str
    when: datetime
    good: bool
    depth: str = ""
    findings: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


def put_proof(destination: Destination, keys: RepositoryKeys, proof: Proof, now: datetime) -> None:
    """In place of those that a clock that was wrong dated ahead of `now`: they were found earlier all the same, and a
    bad one would count until its day comes, a good one from then on. Raises `Refused` without the private key."""
    folder = f"{_FOLDER}{proof.snapshot}/"
    name = f"{folder}{_stamp(proof.when)}-{proof.verb}-{os.urandom(4).hex()}"
    text = json.dumps({**asdict(proof), "when": proof.when.isoformat()}, sort_keys=True).encode()
    payload = msgpack.packb([text, keys.writer.as_reader().sign(name, text)])
    destination.put(name, seal(keys.metadata, name, payload))
    latest = f"{folder}{_stamp(now + CLOCKS_DIFFER)}"
    for later in [listed.name for listed in destination.list(folder) if latest <= listed.name != name]:
        found = _read(destination, keys, later)
        if found and is_ahead(found.when, now):
            with suppress(Missing, Refused):  # who may not delete leaves it to the next that may
                destination.delete(later)


def _stamp(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def proofs(destination: Destination, keys: RepositoryKeys, now: datetime, verb: str = "") -> dict[str, list[Proof]]:
    """By snapshot, oldest first; what a clock that was wrong dated ahead, and is good, comes before all others, as it
    must not hide what was found since. What is damaged, or not signed by this keyring, proves nothing and is left
    out. With a `verb`, those of that alone."""
    found: dict[str, list[Proof]] = {}
    for listed in destination.list(_FOLDER):
        if verb and f"-{verb}-" not in listed.name:  # the name is signed too
            continue
        if proof := _read(destination, keys, listed.name):
            found.setdefault(proof.snapshot, []).append(proof)
    for each in found.values():
        each.sort(key=lambda proof: (not (proof.good and is_ahead(proof.when, now)), proof.when))
    return found


def is_proven(found: Sequence[Proof]) -> bool:
    """Whether the last verify found it good, and the last drill too: that every byte can be read again does not undo
    what came back as something else. `found`: of one snapshot, in the order of `proofs`."""
    last = {proof.verb: proof.good for proof in found}
    return bool(last) and all(last.values())


def last_good(found: Mapping[str, Sequence[Proof]], verb: str, now: datetime) -> datetime | None:
    """When a proof by that verb, of any snapshot, was last good. What a clock that was wrong dated ahead of `now` does
    not count. `found`: as `proofs` gives it."""
    good = (proof for each in found.values() for proof in each if proof.verb == verb and proof.good)
    return max((proof.when for proof in good if not is_ahead(proof.when, now)), default=None)


def newest_looked_at(destination: Destination, keys: RepositoryKeys, snapshots: Sequence[str]) -> str | None:
    """The last of these snapshots that a verify or a drill has looked at, whatever it found: no writer can forge that,
    as he can a snapshot. None where there is none."""
    names: dict[str, list[str]] = {}
    for listed in destination.list(_FOLDER):
        names.setdefault(listed.name.split("/")[1], []).append(listed.name)
    for snapshot in reversed(snapshots):
        if any(_read(destination, keys, name) for name in reversed(names.get(snapshot, []))):
            return snapshot
    return None


def _read(destination: Destination, keys: RepositoryKeys, name: str) -> Proof | None:
    try:
        payload = unseal(keys.metadata, name, destination.get(name))
        text, signature = msgpack.unpackb(payload)
        data = json.loads(text)
        when, findings = datetime.fromisoformat(data["when"]), tuple(data["findings"])
        proof = Proof(**{**data, "when": when, "findings": findings})
    except (*_UNREADABLE, msgpack.UnpackException):
        return None
    signed = keys.writer.verified(name, text, signature) and name.startswith(f"{_FOLDER}{proof.snapshot}/")
    return proof if signed else None


def delete_proofs(destination: Destination, snapshot: str) -> None:
    for listed in list(destination.list(f"{_FOLDER}{snapshot}/")):
        with suppress(Missing):
            destination.delete(listed.name)

"""Large sources that several workers share: one snapshot, whoever does which part, and whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.flows import kinds
from tests.flows.house import House
from tests.flows.test_kills import pool_children
from tests.flows.test_night import assert_restores, local, originals_of
from tests.flows.trees import grow

SMALL_PARTS = {"part_size": "2MB", "most_parts": 8}


def large(house: House, kind: str, megabytes: int = 12, **options: Any) -> dict[str, Any]:
    """Folders of files of 1 MB, small ones between them, and a file with names in the first and the last folder."""
    root = grow(house.folder / "originals" / kind)
    for number in range(megabytes):
        folder = root / f"weights{number // 2:02}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:03}.bin").write_bytes(random.Random(number).randbytes(1_000_000))
    os.link(root / "weights00/000.bin", root / "zz other name.bin")
    time.sleep(0.05)
    return {"kind": kind, "paths": [root], **SMALL_PARTS, **options}


def assert_divided(report: dict[str, Any], kind: str, least: int) -> list[dict[str, Any]]:
    """That it was one snapshot of several parts, whose figures add up."""
    assert report["state"] == "done", report["failures"]
    parts = [part for step, part in report["parts"].items() if step.startswith(f"backup/{kind}/")]
    whole = report["steps"][f"backup/{kind}"]["figures"]
    assert len(parts) == whole["parts"] >= least
    assert sum(part["figures"]["content_bytes"] for part in parts) == whole["content_bytes"]
    assert sum(part["figures"]["read_bytes"] for part in parts) == whole["read_bytes"]
    return parts


def assert_clean(house: House) -> None:
    house.wait_for(lambda: list((house.folder / "state/spool").glob("*/*")) == [], "an empty spool")


def test_three_workers_share_a_large_source_and_make_one_snapshot_of_it(house: House) -> None:
    destinations = {"here": local(house), "offsite": local(house, "offsite")}
    house.configure({"models": large(house, "models"), "docs": large(house, "docs", 1)}, destinations)
    for _ in range(3):
        house.worker(concurrency=1)
    first = house.night()
    assert_divided(first, "models", 4)
    again = house.night()
    assert again["state"] == "done", again["failures"]
    figures = again["steps"]["backup/models"]["figures"]
    assert figures["read_bytes"] == figures["new_bytes"] == 0
    (house.folder / "originals/models/weights03/more.bin").write_bytes(random.Random("more").randbytes(5_000_000))
    (house.folder / "originals/models/weights05/more.bin").write_bytes(random.Random("yet").randbytes(5_000_000))
    third = house.night()
    parts = assert_divided(third, "models", 2)
    assert sum(part["figures"]["read_bytes"] for part in parts) == 10_000_000
    originals = originals_of(house, "models", "docs")
    assert_restores(house, originals)
    assert_restores(house, originals, "offsite")
    with kinds.registered():
        assert len(house.installation.repository("models", "here").snapshots()) == 3
    assert_clean(house)


def test_one_worker_alone_does_all_parts(house: House) -> None:
    house.configure({"models": large(house, "models")}, {"here": local(house)})
    house.worker(concurrency=1)
    assert_divided(house.night(), "models", 4)
    assert_restores(house, originals_of(house, "models"))
    assert_clean(house)


def test_two_hosts_share_a_source_and_each_brings_what_it_captured(house: House) -> None:
    """Two hosts that see the same files, each with a disk and a spool of its own."""
    gate = house.folder / "gate"
    gate.touch()
    source = large(house, "gated", gate=gate)
    (house.folder / "originals/gated/weights05/zz gate").touch()
    house.configure({"gated": source}, {"here": local(house)})
    other = house.folder / "other.toml"
    text = house.file.read_text().replace('state = "state"', 'state = "state-of-other"')
    other.write_text(text.replace(f'host = "{house.host}"', 'host = "other"'))
    house.worker(concurrency=1)
    house.worker(concurrency=1, queues="files,transfer", GEOMETRA_BACKUP_CONFIG=str(other))
    run = house.start()
    house.wait_for(gate.with_suffix(".reached").exists, "the gate")
    house.wait_for(lambda: len(hosts_of(house, run)) == 2, "a part of each host")
    gate.unlink()
    parts = assert_divided(house.report(run), "gated", 4)
    assert {part["host"] for part in parts} == {house.host, "other"}
    assert_restores(house, originals_of(house, "gated"))
    assert_clean(house)
    assert list((house.folder / "state-of-other/spool").glob("*/*")) == []


def hosts_of(house: House, run: str) -> set[str]:
    return {str(outcome["host"]) for step, outcome in house.record.outcomes(run).items() if "/part-" in step}


def test_a_worker_killed_in_the_middle_of_its_part_costs_that_part_alone(house: House) -> None:
    gate = house.folder / "gate"
    gate.touch()
    source = large(house, "gated", gate=gate)
    (house.folder / "originals/gated/weights03/zz gate").touch()
    house.configure({"gated": source}, {"here": local(house)})
    workers = [house.worker(concurrency=1) for _ in range(3)]
    run = house.start()
    house.wait_for(gate.with_suffix(".reached").exists, "the gate")

    def done() -> dict[str, Any]:
        return {step: text for step, text in house.record.outcomes(run).items() if "/part-" in step}

    # At least so many, while one is at the gate.
    house.wait_for(lambda: len(done()) >= 4, "other parts")
    held = house.wait_for(lambda: stays_alone(lambda: steps_leased(house, run)), "who is at the gate")
    others = done()
    victim = next(worker for worker in workers if holds(house, worker, run, held))
    victim.kill()
    gate.unlink()
    house.worker(concurrency=1)
    house.beat()
    report = house.report(run)
    assert_divided(report, "gated", 4)
    for step, outcome in others.items():
        assert json.dumps(house.record.outcome(run, step)) == json.dumps(outcome)
    started = [line for line in house.log() if line["event"] == "started" and line["task"] == "backup.gated.part"]
    assert started
    assert_restores(house, originals_of(house, "gated"))
    with kinds.registered():
        assert len(house.installation.repository("gated", "here").snapshots()) == 1
    assert_clean(house)


def steps_leased(house: House, run: str) -> list[str]:
    steps = [f"backup/gated/part-{number}" for number in range(1, 9)]
    return [step for step in steps if house.record.is_leased(run, step)]


def stays_alone(leased: Callable[[], list[str]]) -> str:
    """The one step that is leased before a while and after it; empty if there is none, or more than one."""
    before = leased()
    time.sleep(0.3)
    held = [step for step in leased() if step in before]
    return held[0] if len(held) == 1 else ""


def holds(house: House, worker: Any, run: str, step: str) -> bool:
    """Whether a worker's process has the lock of the one that holds the step."""
    holder = house.record.holder(run, step)
    names = [Path(f"/proc/{child}/fd") for child in pool_children(worker)]
    links = [os.readlink(link) for folder in names for link in folder.iterdir() if link.is_symlink()]
    return any(str(holder) in link for link in links)


def test_a_part_that_fails_for_good_fails_its_source_and_nothing_is_listed(house: House) -> None:
    sources = {"brittle": large(house, "brittle"), "docs": large(house, "docs", 1)}
    house.configure(sources, {"here": local(house)})
    house.worker(concurrency=2)
    report = house.night()
    (failure,) = report["failures"]
    assert (failure["step"], failure["kind"]) == ("backup/brittle", "SourceError")
    assert re.fullmatch(r"part \d of \d: the disk of this part is broken", failure["message"])
    assert report["recovery_point"]["sources"]["docs"]["proven"] == ["here"]
    with kinds.registered():
        assert house.installation.repository("brittle", "here").snapshots() == []
    assert_clean(house)


def test_a_verify_is_shared_and_finds_what_is_damaged_in_any_part_once(house: House) -> None:
    house.configure({"models": large(house, "models")}, {"here": local(house)}, verify_part_size="1MB")
    for _ in range(3):
        house.worker(concurrency=1)
    report = house.night()
    assert report["state"] == "done", report["failures"]
    parts = [part for step, part in report["parts"].items() if step.startswith("verify/models/here/")]
    whole = report["steps"]["verify/models/here"]["figures"]
    assert len(parts) >= 3
    assert sum(part["figures"]["read_packs"] for part in parts) == whole["read_packs"]
    assert sum(part["figures"]["read_bytes"] for part in parts) == whole["read_bytes"] > 12_000_000
    with kinds.registered():
        repository = house.installation.repository("models", "here", reader=True)
        (proof,) = (proof for found in repository.proofs().values() for proof in found)
    assert proof.good
    assert proof.figures["read_packs"] == whole["read_packs"]


def test_what_one_part_of_a_verify_finds_damaged_is_named_by_the_whole(house: House) -> None:
    source = {"kind": "models", "paths": [grow(house.folder / "originals/models", large=40_000_000)]}
    house.configure({"models": source}, {"here": local(house)}, verify_part_size="5MB")
    house.worker(concurrency=1, queues="models,transfer,control")
    run = house.start()
    house.wait_for(lambda: house.record.outcome(run, "upload/models/here"), "the upload")
    victim, *_ = sorted((house.folder / "store/models/packs").glob("*/*"), key=lambda path: -path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    house.worker(concurrency=1, queues="proof")
    house.worker(concurrency=1, queues="proof")
    report = house.report(run)
    (failure,) = report["failures"]
    assert (failure["step"], failure["kind"]) == ("verify/models/here", "Damaged")
    assert victim.name in failure["message"]
    parts = [part for step, part in report["parts"].items() if step.startswith("verify/models/here/")]
    assert [part["state"] for part in parts] == ["done"] * len(parts)
    assert sum(part["figures"]["damaged_packs"] for part in parts) == 1
    with kinds.registered():
        repository = house.installation.repository("models", "here", reader=True)
        (proof,) = (proof for found in repository.proofs().values() for proof in found)
    assert not proof.good

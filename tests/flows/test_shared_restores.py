"""Restores that several workers share: as it was captured, whoever does which part, and whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import House, Worker, hiding
from tests.flows.test_night import local, originals_of
from tests.flows.test_parts import holds, large, stays_alone
from tests.flows.trees import state_of

FOREIGN = b"somebody else's"


def captured(house: House, *, small: bool = False, **options: Any) -> dict[str, Any]:
    """A source after one night, whose original is gone; what it was. In it there is one of everything that a restore
    can be stopped at. `small`: not large enough to be divided."""
    source = large(house, "models", **options) | ({"part_size": "8GB"} if small else {})
    root = house.folder / "originals/models"
    (root / "weights03/zz gate").write_bytes(random.Random("gate").randbytes(50_000))
    (root / "weights03/zz link gate").symlink_to("nowhere")
    os.mkfifo(root / "weights03/zz pipe")
    (root / "weights03/zz folder gate").mkdir(mode=0o700)
    (root / "weights03/zz folder gate/inside").touch()
    time.sleep(0.05)
    house.configure({"models": source}, {"here": local(house)})
    worker = house.worker(queues="control,models,transfer,proof")
    report = house.night()
    worker.kill()
    assert report["state"] == "done", report["failures"]
    return dict(originals_of(house, "models")["models"])


def ask(house: House, **arguments: Any) -> str:
    """Ask for a restore into the folder `back`; its run."""
    asked = {"source": "models", "destination": "here", "run": "back", "into": str(house.folder / "back")} | arguments
    with house.app() as app:
        app.send_task("restore", kwargs=asked, queue="restore")
    return str(asked["run"])


def outcome(house: House, run: str = "back") -> dict[str, Any]:
    return dict(house.wait_for(lambda: house.record.outcome(run, "restore/models/here"), "the restore"))


def parts(house: House, run: str = "back") -> dict[str, dict[str, Any]]:
    return {step: each for step, each in house.record.outcomes(run).items() if "/part-" in step}


def assert_restored(house: House, original: dict[str, Any], *, least: int = 4, run: str = "back") -> None:
    """All of it and nothing else, by so many parts at least, whose figures add up."""
    told = outcome(house, run)
    assert (told["state"], told["failure"], told["flaws"]) == ("done", None, [])
    assert state_of(house.folder / "back") == original
    assert house.record.progress(run)
    done = parts(house, run).values()
    if least:
        assert len(done) == told["figures"]["parts"] >= least
        for figure in ("items", "restored_bytes"):
            assert sum(part["figures"][figure] for part in done) == told["figures"][figure]
    else:
        assert not done


def progress_of(house: House, run: str = "back") -> list[dict[str, float]]:
    return list(house.record.progress(run).values())


def restorer(house: House, gate: str = "", *, hidden: Path | None = None, **environment: str) -> Worker:
    """A worker that stops at that gate, if it is closed."""
    gates = {"RESTORE_GATE": f"{gate}:{house.folder / 'gate'}"} if gate else {}
    return house.worker(queues="restore", concurrency=1, hidden=hidden, **gates, **environment)


def close_gate(house: House) -> Path:
    gate = house.folder / "gate"
    gate.touch()
    return gate


def reached(house: House, gate: Path) -> None:
    house.wait_for(gate.with_suffix(".reached").exists, "the gate")


def test_workers_of_two_hosts_that_see_the_same_folder_share_a_restore(house: House) -> None:
    original = captured(house)
    gate = close_gate(house)
    other = house.folder / "other.toml"
    text = house.file.read_text().replace('state = "state"', 'state = "state-of-other"')
    other.write_text(text.replace(f'host = "{house.host}"', 'host = "other"'))
    workers = {
        house.host: restorer(house, "complete"),
        "other": restorer(house, "complete", GEOMETRA_BACKUP_CONFIG=str(other)),
    }
    ask(house)
    reached(house, gate)
    held = house.wait_for(lambda: at_gate(house, workers.values()), "who is at the gate")
    (free,) = (host for host, worker in workers.items() if not holds(house, worker, "back", held))
    house.wait_for(lambda: free in {part["host"] for part in parts(house).values()}, "a part of the other host")
    # Not of the part at the gate: what has written nothing yet tells nothing.
    told = house.wait_for(lambda: [each for each in progress_of(house) if each["done_bytes"]], "how far it is")
    assert all(each["done_bytes"] <= each["total_bytes"] for each in told)
    gate.unlink()
    assert_restored(house, original)
    assert {part["host"] for part in parts(house).values()} == {house.host, "other"}


def test_a_host_that_does_not_see_the_folder_leaves_its_parts_to_those_that_do(house: House) -> None:
    """There is another folder, an empty one, by the same path: a part put there would be lost."""
    there = house.folder / "there"
    there.mkdir()
    if subprocess.run([*hiding(there), "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("nobody may mount here, so no host can be given another folder by the same path")
    original = captured(house)
    gate = close_gate(house)
    other = house.folder / "other.toml"
    text = house.file.read_text().replace('state = "state"', 'state = "state-of-other"')
    other.write_text(text.replace(f'host = "{house.host}"', 'host = "other"'))
    restorer(house, "complete")
    ask(house, into=str(there / "back"))
    reached(house, gate)
    restorer(house, hidden=there, GEOMETRA_BACKUP_CONFIG=str(other))
    blind = f"this host does not see the folder `{there / 'back'}`"
    house.wait_for(lambda: any(blind in note for note in house.record.notes("back").values()), "the other host")
    gate.unlink()
    outcome(house)
    (there / "back").rename(house.folder / "back")
    assert_restored(house, original)
    assert {part["host"] for part in parts(house).values()} == {house.host}
    assert list(there.iterdir()) == []


def at_gate(house: House, workers: Iterable[Worker]) -> str:
    """The part that one of them has held for a while, beside no other; empty if there is none."""
    held = stays_alone(lambda: leased(house))
    return held if held and any(holds(house, each, "back", held) for each in workers) else ""


def leased(house: House, run: str = "back") -> list[str]:
    steps = [f"restore/models/here/part-{number}" for number in range(1, 9)]
    return [step for step in steps if house.record.is_leased(run, step)]


@pytest.mark.parametrize("small", [False, True], ids=["divided", "whole"])
@pytest.mark.parametrize(
    ("gate", "overwrite"),
    [
        ("complete", False),
        ("place", False),
        ("symbolic_link", False),
        ("finish_folder", False),
        ("complete", True),
        ("symbolic_link", True),
        ("finish_folder", True),
    ],
)
def test_what_a_killed_worker_had_begun_is_finished_by_another(
    house: House, gate: str, small: bool, overwrite: bool
) -> None:
    original = captured(house, small=small)
    if overwrite:
        (house.folder / "back/models/weights00").mkdir(parents=True)
        (house.folder / "back/models/weights00/000.bin").write_bytes(FOREIGN)
    closed = close_gate(house)
    first = restorer(house, gate)
    ask(house, overwrite=overwrite)
    reached(house, closed)
    first.kill()
    assert state_of(house.folder / "back") != original
    closed.unlink()
    restorer(house)
    assert_restored(house, original, least=0 if small else 4)


def test_a_worker_killed_in_the_middle_of_its_part_costs_that_part_alone(house: House) -> None:
    original = captured(house)
    closed = close_gate(house)
    workers = [restorer(house, "complete") for _ in range(2)]
    ask(house)
    reached(house, closed)
    house.wait_for(lambda: len(parts(house)) >= 4, "other parts")
    held = house.wait_for(lambda: at_gate(house, workers), "who is at the gate")
    others = parts(house)
    next(worker for worker in workers if holds(house, worker, "back", held)).kill()
    closed.unlink()
    assert_restored(house, original)
    assert parts(house).items() > others.items()


def test_a_worker_that_was_stopped_for_long_and_goes_on_does_no_harm(house: House) -> None:
    original = captured(house)
    closed = close_gate(house)
    first = restorer(house, "complete")
    ask(house)
    reached(house, closed)
    os.killpg(first.child.pid, signal.SIGSTOP)
    closed.unlink()
    restorer(house)
    assert_restored(house, original)
    told = outcome(house)
    os.killpg(first.child.pid, signal.SIGCONT)
    time.sleep(4)
    first.stop()
    assert outcome(house) == told
    assert_restored(house, original)


def test_patterns_choose_in_every_part_and_a_link_whose_partner_is_not_chosen_comes_as_the_file(house: House) -> None:
    """`zz other name.bin`, last of all, is a link to the first file of weights."""
    original = captured(house)
    restorer(house)
    ask(house, patterns=["/models/weights0[1-5]/", "/models/zz*"])
    told = outcome(house)
    assert (told["state"], told["figures"]["restored_bytes"]) == ("done", 11_050_000)
    assert len(parts(house)) == told["figures"]["parts"] >= 4
    chosen = {
        name: about for name, about in original.items() if re.match(r"models/(weights0[1-5]|zz)|hard links", name)
    }
    found = state_of(house.folder / "back")
    assert found.pop("models")
    assert found == chosen | {"hard links": []}


def test_a_part_that_fails_for_good_fails_the_restore_by_its_name_and_leaves_no_leftovers(house: House) -> None:
    original = captured(house)
    closed = close_gate(house)
    for _ in range(2):
        restorer(house, "complete")
    ask(house)
    reached(house, closed)
    links = original.pop("hard links")
    assert links
    for path in (house.folder / "back" / name for name, (kind, *_) in original.items() if kind == stat.S_IFREG):
        if path.parent.is_dir() and not os.path.lexists(path):
            path.write_text("mine")
    closed.unlink()
    told = outcome(house)
    assert (told["state"], told["failure"]["kind"]) == ("failed", "Occupied")
    assert re.match(r"part \d of \d: ", told["failure"]["message"])
    house.wait_for(lambda: not leased(house), "the end of the others")
    assert not list((house.folder / "back").rglob(".geometra-*"))


def test_a_damaged_block_costs_the_files_that_need_it_and_nothing_else(house: House) -> None:
    original = captured(house)
    packs = sorted((house.folder / "store/models/packs").glob("*/*"), key=lambda path: -path.stat().st_size)
    data = bytearray(packs[0].read_bytes())
    data[len(data) // 2] ^= 1
    packs[0].write_bytes(data)
    for _ in range(2):
        restorer(house)
    ask(house)
    told = outcome(house)
    assert (told["state"], told["failure"]["kind"]) == ("failed", "Damaged")
    lost = re.match("all else was restored, but what is stored of `(.*)` is damaged", told["failure"]["message"])
    assert lost
    found = state_of(house.folder / "back")
    missing = original.keys() - found.keys()
    assert {*lost[1].split("`, `")} <= missing
    assert {name: state for name, state in found.items() if name != "hard links"} == {
        name: state for name, state in original.items() if name not in missing | {"hard links"}
    }


def test_a_destination_that_goes_away_meanwhile_is_waited_for_by_what_needs_it(house: House) -> None:
    original = captured(house)
    closed = close_gate(house)
    restorer(house, "complete")
    ask(house)
    reached(house, closed)
    before = parts(house)
    store = house.folder / "store"
    store.rename(house.folder / "unmounted")
    closed.unlink()
    house.wait_for(lambda: any("/part-" in step for step in house.record.notes("back")), "a part that waits")
    (house.folder / "unmounted").rename(store)
    assert_restored(house, original)
    assert parts(house).items() >= before.items()

"""Nights over a real broker with real workers: every kind, destroyed and restored; what fails, and what must not."""

from __future__ import annotations

import random
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.restore import Wanted, restore
from tasks.sources.kinds import SOURCES
from tests import git_sample
from tests.flows import kinds
from tests.flows.house import House
from tests.flows.trees import grow, state_of


def local(house: House, name: str = "store") -> dict[str, Any]:
    return {"kind": "local", "path": house.folder / name}


def tree(house: House, kind: str, name: str, **growth: Any) -> dict[str, Any]:
    return {"kind": kind, "paths": [grow(house.folder / "originals" / name, **growth)]}


def restored(house: House, source: str, destination: str = "here") -> Path:
    into = house.folder / "restored" / destination / source
    with kinds.registered():
        restore(house.installation, source, destination, Wanted(into))
    return into


def assert_restores(house: House, originals: dict[str, Any], destination: str = "here") -> None:
    """Every source as it was, and nothing else, with every cache of this host gone."""
    shutil.rmtree(house.folder / "state" / "cache", ignore_errors=True)
    for source, state in originals.items():
        assert state_of(restored(house, source, destination)) == state


def originals_of(house: House, *sources: str) -> dict[str, Any]:
    """What each source must look like after a restore, whose top is the name of its folder."""
    states = {}
    for source in sources:
        alone = house.folder / "alone" / source
        alone.mkdir(parents=True)
        (house.folder / "originals" / source).rename(alone / source)
        states[source] = state_of(alone)
    return states


SERVED = {"redis", "postgres", "chroma"}
"""Kinds that need a server; each has a flow of its own."""
FILES = ("config", "logs", "models", "docs", "test_data")


def repository(house: House) -> tuple[dict[str, Any], Path]:
    """A git source: two branches, a tag, a stash, and work that is staged, changed and untracked."""
    code = git_sample.init(house.folder / "originals" / "geometra")
    git_sample.commit(code, {"app.py": "print('one')\n", "docs/read.me": "text\n"})
    git_sample.git(code, "branch", "feature")
    git_sample.git(code, "tag", "--annotate", "--message", "first", "v1")
    git_sample.commit(code, {"app.py": "print('two')\n"})
    (code / "app.py").write_text("stashed\n")
    git_sample.git(code, "stash")
    (code / "staged.py").write_text("staged\n")
    git_sample.git(code, "add", "staged.py")
    (code / "docs/read.me").write_text("changed\n")
    (code / "untracked.txt").write_text("new\n")
    return {"kind": "source_code", "repositories": [code]}, code


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_night_of_every_kind_brings_back_destroyed_originals(house: House, pool: str) -> None:
    sources = {kind: tree(house, kind, kind, seed=seed) for seed, kind in enumerate(FILES)}
    sources["code"], code = repository(house)
    assert {options["kind"] for options in sources.values()} == {*SOURCES} - SERVED
    before = git_sample.state(code)
    house.configure(sources, {"here": local(house)}, {"nightly": {}})
    house.worker(pool=pool)
    report = house.night("nightly")
    assert report["state"] == "done", report["failures"]
    assert report["recovery_point"]["whole"]
    assert set(report["recovery_point"]["sources"]) == {*FILES, "code"}
    assert all(where["proven"] == ["here"] for where in report["recovery_point"]["sources"].values())
    shutil.rmtree(code)
    assert_restores(house, originals_of(house, *FILES))
    again = restored(house, "code") / "geometra"
    assert git_sample.state(again) == before
    assert git_sample.git(again, "fsck", "--full", "--strict", "--no-progress") == b""
    assert list((house.folder / "state/spool").glob("*/*")) == []


def test_a_night_over_a_worker_for_each_pool_ends_where_its_spool_lies(house: House) -> None:
    house.configure(
        {"docs": tree(house, "docs", "docs"), "models": tree(house, "models", "models")}, {"here": local(house)}
    )
    for queues in ("files,control", "models", "transfer", "proof"):
        house.worker(concurrency=1, queues=queues)
    report = house.night()
    assert report["state"] == "done", report["failures"]
    assert_restores(house, originals_of(house, "docs", "models"))


def test_a_second_night_stores_only_what_is_new(house: House) -> None:
    house.configure({"models": tree(house, "models", "models", large=9_000_000)}, {"here": local(house)})
    house.worker()
    first = house.night()
    (house.folder / "originals/models/added.bin").write_bytes(b"new" * 1000)
    second = house.night()
    assert first["figures"]["new_bytes"] > 9_000_000
    assert 3000 <= second["figures"]["new_bytes"] < 20_000
    assert_restores(house, originals_of(house, "models"))


def test_every_destination_gets_everything_and_restores_alone(house: House) -> None:
    destinations = {"here": local(house), "offsite": local(house, "offsite"), "third": local(house, "third")}
    house.configure({"docs": tree(house, "docs", "docs")}, destinations)
    house.worker()
    report = house.night()
    assert report["state"] == "done", report["failures"]
    assert sorted(report["recovery_point"]["sources"]["docs"]["destinations"]) == ["here", "offsite", "third"]
    originals = originals_of(house, "docs")
    for name in destinations:
        others = [each["path"] for other, each in destinations.items() if other != name]
        for other in others:
            other.rename(other.with_suffix(".away"))
        assert_restores(house, originals, name)
        for other in others:
            other.with_suffix(".away").rename(other)


def test_a_source_that_fails_stops_no_other_and_the_report_tells(house: House) -> None:
    sources = {"docs": tree(house, "docs", "docs"), "logs": {"kind": "logs", "paths": [house.folder / "not there"]}}
    house.configure(sources, {"here": local(house)})
    house.worker()
    report = house.night()
    assert report["state"] == "failed"
    assert [(failure["step"], failure["kind"]) for failure in report["failures"]] == [("backup/logs", "SourceError")]
    assert "not there" in report["failures"][0]["message"]
    assert report["steps"]["prune/logs/here"]["state"] == "skipped"
    assert not report["recovery_point"]["whole"]
    assert list(report["recovery_point"]["sources"]) == ["docs"]
    assert_restores(house, originals_of(house, "docs"))


def test_a_mistake_in_the_code_fails_its_source_alone_and_its_text_stays_in_the_log(house: House) -> None:
    sources = {"docs": tree(house, "docs", "docs"), "faulty": tree(house, "faulty", "faulty", files=1)}
    house.configure(sources, {"here": local(house)})
    house.worker()
    report = house.night()
    assert [(failure["step"], failure["kind"]) for failure in report["failures"]] == [("backup/faulty", "Unexpected")]
    assert re.fullmatch(
        r"RuntimeError in kinds\.py, line \d+; the worker's log says more", report["failures"][0]["message"]
    )
    assert "hunter2" not in str(report)
    assert report["recovery_point"]["sources"]["docs"]["proven"] == ["here"]
    (logged,) = [line for line in house.log() if line["event"] == "unexpected error"]
    assert "Traceback" in logged["exception"]


def test_a_destination_that_comes_back_gets_its_upload_after_all(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house), "offsite": local(house, "offsite")})
    (house.folder / "offsite").rename(house.folder / "unmounted")
    house.worker()
    run = house.start()
    house.wait_for(lambda: house.record.outcome(run, "prune/docs/here"), "the branch of the other destination")
    house.wait_for(lambda: any(line["event"] == "waiting" for line in house.log()), "the wait for the destination")
    (house.folder / "unmounted").rename(house.folder / "offsite")
    report = house.report(run)
    assert report["state"] == "done", report["failures"]
    assert_restores(house, originals_of(house, "docs"), "offsite")


def test_a_destination_that_stays_away_fails_alone_and_the_next_night_heals_it(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house), "offsite": local(house, "offsite")})
    (house.folder / "offsite").rename(house.folder / "unmounted")
    house.worker(GEOMETRA_BACKUP_WAITS="1")
    first = house.night()
    assert [failure["step"] for failure in first["failures"]] == ["upload/docs/offsite"]
    assert first["recovery_point"]["sources"]["docs"]["proven"] == ["here"]
    (house.folder / "unmounted").rename(house.folder / "offsite")
    second = house.night()
    assert second["state"] == "done", second["failures"]
    with kinds.registered():
        repository = house.installation.repository("docs", "offsite")
    assert len(repository.snapshots()) == 2
    assert list((house.folder / "state/spool").glob("*/*")) == []
    assert_restores(house, originals_of(house, "docs"), "offsite")


def test_an_upload_that_needs_what_is_about_to_be_deleted_fails_one_night_and_no_more(house: House) -> None:
    """A file comes back in the very night in which its pack is due to be deleted at one destination of two."""
    docs = tree(house, "docs", "docs")
    house.configure({"docs": docs}, {"here": local(house), "offsite": local(house, "offsite")})
    house.worker()
    file, away = docs["paths"][0] / "back.bin", house.folder / "back.bin"
    file.write_bytes(random.Random(1).randbytes(3 << 20))
    first = house.night()
    assert first["state"] == "done"
    file.rename(away)
    assert house.night()["state"] == "done"
    with kinds.registered():
        repository = house.installation.repository("docs", "offsite", reader=True)
        past = datetime.now(UTC) - timedelta(days=9)
        # By its name: two nights may begin within one second.
        snapshot = first["recovery_point"]["sources"]["docs"]["snapshot"]
        repository.plan_prune([snapshot], past, timedelta(days=3)).apply()
    away.rename(file)
    states = {step: each["state"] for step, each in house.night()["steps"].items() if step.endswith("offsite")}
    assert states == {"upload/docs/offsite": "failed", "verify/docs/offsite": "skipped", "prune/docs/offsite": "done"}
    report = house.night()
    assert report["state"] == "done", report["failures"]
    assert_restores(house, originals_of(house, "docs"), "offsite")


def test_one_id_makes_one_run_and_one_report(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": {}})
    house.worker()
    runs = {house.start("nightly", run="20261123") for _ in range(5)}
    assert len(runs) == 1
    assert house.report(runs.pop())["state"] == "done"
    assert len(house.record.runs()) == 1
    assert len(house.installation.repository("docs", "here").snapshots()) == 1


def test_logs_hold_names_and_no_secret(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker()
    run = house.night()["run"]

    def ended() -> set[str]:
        return {line["task"] for line in house.log() if line["event"] == "ended" and line.get("run") == run}

    house.wait_for(lambda: ended() >= {"backup.docs", "upload", "verify", "prune", "report"}, "a line for each step")
    text = str(house.log()) + "".join(path.read_text() for path in house.folder.glob("console*.log"))
    secrets = [(house.folder / "keys" / name).read_text().split()[-1] for name in ("passphrase", "writer.key")]
    assert not [secret for secret in secrets if secret in text]

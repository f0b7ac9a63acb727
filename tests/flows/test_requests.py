"""The example of REQUESTS.md as another application runs it: a process of its own, with Celery and the broker's URL,
without our packages, and with modules of its own that are named as ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial, partialmethod
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from celery import Celery
from kombu.transport.redis import Channel

from tests.flows.house import House
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.free_port import free_port
from tests.redis_process import redis_process

TEXT = (Path(__file__).parents[2] / "tasks/REQUESTS.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
ASK = EXAMPLE.partition("\n\n\nrun = ")[0]
"""The example up to its first request."""


class Application:
    """Its folder, with `tasks.py` and `workers.py` of its own. `-I -S`: no folder of ours is on the path, and no `.pth`
    file that names one; the packages that are installed are put there by hand."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder, self.broker = folder, broker
        folder.mkdir()
        for name in ("tasks", "workers"):
            (folder / f"{name}.py").write_text(f"OURS = {name!r}\n")

    def run(self, code: str) -> str:
        paths = [str(self.folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        own = f"import sys\nsys.path[:0] = {paths!r}\nimport tasks, workers\nassert tasks.OURS and workers.OURS\n"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", own + code, self.broker],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def errors(self, *requests: tuple[str, dict[str, Any]]) -> list[tuple[str, str]]:
        """What each raises: its type's name and its text."""
        code = f"""{ASK}
import json
for task, arguments in json.loads({json.dumps(json.dumps(requests))}):
    try:
        ask(task, **arguments)
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
        return [(kind, text) for kind, text in map(json.loads, self.run(code).splitlines())]


@pytest.fixture
def application(house: House) -> Application:
    return Application(house.folder / "application", house.broker.url)


def test_the_example_backs_up_a_source_from_a_process_without_our_packages(
    house: House, application: Application
) -> None:
    assert len(EXAMPLE.splitlines()) <= 20
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker()
    said = application.run(EXAMPLE).splitlines()
    state, _, point = said[-1].partition(" ")
    assert state == "done"
    assert "'whole': True" in point
    assert "'proven': ['here']" in point
    # The same request again is the same run, done once.
    assert application.run(EXAMPLE).splitlines()[-1] == said[-1]
    assert [run.id for run in house.record.runs()] == ["before-release-42"]
    assert len(house.installation.repository("docs", "here").snapshots()) == 1
    assert_restores(house, originals_of(house, "docs"))


def test_what_is_unknown_or_wrong_is_refused_at_once_and_nothing_is_recorded(
    house: House, application: Application
) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": {}})
    house.worker()
    began = time.monotonic()
    errors = application.errors(
        ("backup.docs", {"source": "dcos"}),
        ("backup.logs", {"source": "docs"}),
        ("backup.docs", {"source": "docs", "plan": "nightly"}),
        ("backup.docs", {"source": ["docs"]}),
        ("backup.nothing", {"source": "docs"}),
        ("plan.start", {"plan": "nigthly"}),
        ("plan.start", {"plan": "nightly", "sources": ["dcos"]}),
        ("runs.state", {"run": "never-begun"}),
        ("runs.state", {"run": "../../etc"}),
    )
    took = time.monotonic() - began
    assert [kind for kind, _ in errors] == [
        "NotFound", "NotFound", "BadRequest", "BadRequest", "NotRegistered", "NotFound", "NotFound", "NotFound",
        "BadRequest",
    ]  # fmt: skip
    said = [text for _, text in errors]
    assert said[0] == "there is no source `dcos`; known: docs"
    assert "send `backup.docs`, not `backup.logs`" in said[1]
    assert "`plan` is no argument" in said[2]
    assert "there is no plan `nigthly`; known: nightly" in said[5]
    assert "there is no run `never-begun`" in said[7]
    assert house.record.runs() == []
    assert not [line for line in house.log() if line["event"] == "waits"], "something was tried again"
    assert took < 30


def test_an_id_that_another_run_has_is_refused(house: House, application: Application) -> None:
    sources = {"docs": tree(house, "docs", "docs"), "logs": tree(house, "logs", "logs")}
    house.configure(sources, {"here": local(house)}, {"nightly": {}})
    house.worker()
    assert application.errors(
        ("backup.docs", {"source": "docs", "run": "mine"}),
        ("backup.docs", {"source": "docs", "run": "mine"}),
        ("backup.logs", {"source": "logs", "run": "mine"}),
        ("plan.start", {"plan": "nightly", "run": "mine"}),
    ) == [("Refused", text) for _, text in application.errors(
        ("backup.logs", {"source": "logs", "run": "mine"}),
        ("plan.start", {"plan": "nightly", "run": "mine"}),
    )]  # fmt: skip
    (run,) = house.record.runs()
    assert {step.split("/")[1] for step in run.steps} == {"docs"}
    assert house.report("mine")["state"] == "done"


def test_a_step_that_is_sent_by_hand_without_a_run_is_refused(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker()
    with house.app() as app:
        sent = app.send_task("backup.docs", kwargs={"source": "docs", "run": "nobodys"}, queue="files")
        outcome = sent.get(timeout=60)
    assert outcome["state"] == "failed"
    assert "there is no run `nobodys`" in outcome["failure"]["message"]


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[House, str]]:
    """A house whose broker has a user for applications, as REQUESTS.md says; and that user's URL."""
    port = free_port()
    with redis_process("--bind", "127.0.0.1", port=port, password="of-the-workers") as server:
        rule = re.findall(r"^user (geometra-app .*)$", TEXT, re.MULTILINE)[0].replace(">PASSWORD", ">of-the-app")
        with closing(server.client()) as client:
            client.execute_command("ACL", "SETUSER", *rule.split())  # type: ignore[no-untyped-call]
        house = House(folder, server)
        try:
            yield house, f"redis://geometra-app:of-the-app@127.0.0.1:{port}/0"
        finally:
            house.close()


def test_an_application_needs_no_more_rights_at_the_broker_than_the_document_says(tmp_path: Path) -> None:
    with guarded(tmp_path) as (house, url):
        house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
        house.worker()
        application = Application(tmp_path / "application", url)
        assert application.run(EXAMPLE).splitlines()[-1].startswith("done")
        denied = """
import redis
client = redis.Redis.from_url(sys.argv[1])
for command in (("LRANGE", "files", 0, -1), ("HGETALL", "geometra:run:before-release-42"), ("KEYS", "*"),
                ("LPUSH", "files", "x"), ("SET", "celery-task-meta-x", "x"), ("FLUSHALL",)):
    try:
        client.execute_command(*command)
        print(command[0])
    except redis.exceptions.NoPermissionError:
        pass
"""
        assert application.run(denied) == ""


def test_a_time_limit_that_is_no_number_ends_no_worker(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    worker = house.worker()
    wrong: dict[str, Any] = {"time_limit": "1h", "soft_time_limit": "1h"}
    with house.app() as app:
        ask = partial(app.send_task, "runs.state", kwargs={"run": "none"}, queue="control")
        ask().get(timeout=60, propagate=False)
        ask(**wrong)
        house.wait_for(lambda: "a time limit is a number" in worker.log.read_text(), "what it says of that")
        assert isinstance(ask().get(timeout=60, propagate=False), Exception)
    assert worker.child.poll() is None


def test_time_limits_that_are_three_take_no_process_of_a_worker_for_ever(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    worker = house.worker(concurrency=1)
    with house.app() as app:
        ask = partial(app.send_task, "runs.state", kwargs={"run": "none"}, queue="control")
        ask(headers={"timelimit": [1, 2, 3]})
        assert isinstance(ask().get(timeout=60, propagate=False), Exception)
    assert "of which there are two" in worker.log.read_text()


@pytest.mark.parametrize("forged", [False, True])
def test_whoever_may_only_send_requests_has_nothing_put_back(tmp_path: Path, *, forged: bool) -> None:
    """By a worker that serves all queues; also where the message says of itself that it came by another."""
    with guarded(tmp_path) as (house, url):
        house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
        house.worker()
        assert house.night()["state"] == "done"
        into = tmp_path / "back"
        wanted = {"source": "docs", "destination": "here", "run": "back", "into": str(into), "overwrite": True}
        with (
            closing(Celery("elsewhere", broker=url, backend=url)) as app,
            mock.patch.object(Channel, "_put", partialmethod(put_as_restore, Channel._put) if forged else Channel._put),
        ):
            for task, more in (("restore", wanted), ("prune", {"source": "docs", "destination": "here", "run": "go"})):
                sent = app.send_task(task, kwargs=more, queue="control")
                with pytest.raises(Exception, match=f"`{task}` is no request that the queue `control` takes"):
                    sent.get(timeout=60)
        assert not into.exists()
        assert house.client.llen("restore") == 0


def put_as_restore(channel: Any, put: Any, queue: str, message: Any, **options: Any) -> None:
    message["properties"]["delivery_info"]["routing_key"] = "restore"
    put(channel, queue, message, **options)


def test_a_restore_by_the_id_of_another_one_is_refused(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker()
    assert house.night()["state"] == "done"
    wanted: dict[str, Any] = {
        "source": "docs",
        "destination": "here",
        "run": "back",
        "into": str(house.folder / "back"),
    }
    with house.app() as app:
        ask = partial(app.send_task, "restore", queue="restore")
        first = ask(kwargs=wanted).get(timeout=60)
        assert first["state"] == "done"
        assert ask(kwargs=wanted).get(timeout=60) == first, "sent again, it is done once"
        for other in ({"into": str(house.folder / "elsewhere")}, {"overwrite": True}, {"patterns": ["*.toml"]}):
            with pytest.raises(Exception, match="was asked for by the id `back`: choose another id"):
                ask(kwargs=wanted | other).get(timeout=60)
    assert not (house.folder / "elsewhere").exists()

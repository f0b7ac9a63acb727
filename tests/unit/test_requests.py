"""What other applications may ask for: REQUESTS.md and the tasks say the same, and what they do not say is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

import tasks.plan
import tasks.restore  # noqa: F401 - both for the tasks that they make
from tasks.asked import arguments
from tasks.errors import BadRequest
from tasks.sources.kinds import SOURCES

TEXT = (Path(__file__).parents[2] / "tasks/REQUESTS.md").read_text(encoding="utf-8")
KNOWN = ("backup.docs", "plan.start", "runs.state")
BACK = {"source": "docs", "destination": "here", "run": "back", "into": "/srv/back"}


@pytest.fixture(scope="module")
def app() -> Any:
    app = Celery("names", set_as_current=False)
    app.finalize()
    return app


def function_of(app: Celery, task: str) -> Any:
    return app.tasks[task].run.__func__.__wrapped__  # type: ignore[attr-defined]


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """By task: its arguments, each with its type and default."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    task = ""
    for row in re.findall(r"^\|(.*)\|$", TEXT.partition("## Requests")[2].partition("\n\nA run's id")[0], re.MULTILINE):
        name, argument, kind, default, _ = (cell.strip().strip("`") for cell in row.split("|"))
        task = name.replace("KIND", "docs") or task
        if argument not in ("argument", "---"):
            found.setdefault(task, {})[argument] = (kind, default)
    return found


@pytest.mark.parametrize("task", KNOWN)
def test_the_arguments_are_those_of_the_document(app: Celery, task: str) -> None:
    words = {"string": "text", "array": "a list of texts"}
    schema = arguments(function_of(app, task)).model_json_schema()
    said = {}
    for name, about in schema["properties"].items():
        needed = name in schema.get("required", [])
        said[name] = (words[about["type"]], "needed" if needed else json.dumps(about["default"]))
    said.pop("slot", None)  # beat's
    assert said == documented()[task]
    assert set(documented()) == set(KNOWN)


def test_every_kind_can_be_asked_for(app: Celery) -> None:
    assert {f"backup.{kind}" for kind in SOURCES} <= set(app.tasks)


@pytest.mark.parametrize(
    ("task", "positional", "named", "said"),
    [
        ("plan.start", (), {"plna": "nightly"}, "`plna` is no argument; did you mean `plan`?"),
        ("plan.start", (), {"plan": 5}, "`plan` must be text in quotes, not a whole number"),
        ("plan.start", (), {"plan": None}, "`plan` must be text"),
        ("plan.start", (), {"sources": "docs"}, '`sources` must be a list in brackets, such as ["one", "two"], not '),
        ("plan.start", (), {"sources": ["docs", 1]}, "`sources.1` must be text"),
        ("plan.start", (), {"run": "../run"}, "`run` is no run's id: it has letters"),
        ("plan.start", (), {"run": "x" * 101}, "`run` is no run's id: it has letters"),
        ("plan.start", (), {"slot": "20261123"}, "`slot` is beat's"),
        ("plan.start", ("nightly",), {}, "by name: plan, sources, run"),
        ("backup.docs", (), {}, "`backup.docs`: `source` is missing"),
        ("backup.docs", (), {"source": {"docs": 1}}, "`source` must be text in quotes, not a table"),
        ("runs.state", (), {"run": "run-1", "more": 1}, "`more` is no argument"),
        ("restore", (), BACK | {"overwrite": "false"}, "`overwrite` must be `true` or `false`"),
        ("restore", (), BACK | {"overwrite": 1}, "`overwrite` must be `true` or `false`"),
        ("restore", (), BACK | {"patterns": "*.toml"}, "`patterns` must be a list in brackets"),
        ("restore", (), BACK | {"options": {"database": "3"}}, "`options.database` must be a list in brackets"),
        ("restore", (), BACK | {"into": ""}, "`into` is neither a folder's whole path"),
        ("restore", (), BACK | {"into": "back"}, "`into` is neither a folder's whole path"),
        ("restore", (), BACK | {"into": "/srv/a\0b"}, "`into` is neither a folder's whole path"),
        ("restore", (), BACK | {"into": "/srv/\ud800"}, "`into` is neither a folder's whole path"),
        ("restore", (), BACK | {"into": None}, "`into` must be text"),
        ("restore", (), BACK | {"run": ""}, "`run` "),
        ("restore", (), BACK | {"run": "../run"}, "`run` is no run's id: it has letters"),
        ("restore", (), BACK | {"pattern": ["*.toml"]}, "`pattern` is no argument; did you mean `patterns`?"),
    ],
)  # fmt: skip
def test_what_can_t_be_understood_is_refused_with_what_to_send(
    app: Celery, task: str, *, positional: tuple[Any, ...], named: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        app.tasks[task].run(*positional, **named)
    assert str(refused.value).startswith(f"`{task}`")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)

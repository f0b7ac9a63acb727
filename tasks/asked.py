"""What other applications ask for, by a task's name on one queue: every argument is checked before anything is done.

REQUESTS.md says in words what may be asked; tests/unit/test_requests.py compares the two.
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable
from functools import cache, partial, wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

from celery import Task
from pydantic import AfterValidator, ValidationError, create_model

from tasks.configuration.complaint import complaints
from tasks.errors import BadRequest
from tasks.model import Model
from tasks.run_keys import is_run
from tasks.secret import is_address

QUEUE = "control"
"""What comes by it was asked for; steps of a run come by the queues of their pools."""


def _run_id(value: str) -> str:
    if value and not is_run(value):
        raise ValueError("is no run's id: it has letters, digits, _, . and -, at most 100, a letter or digit first")
    return value


RunId = Annotated[str, AfterValidator(_run_id)]
"""Of a run, or empty."""


def _into(value: str) -> str:
    if not (is_address(value) or _is_whole_path(value)):
        raise ValueError("is neither a folder's whole path, such as `/srv/back`, nor a server's URL")
    return value


def _is_whole_path(value: str) -> bool:
    try:
        return b"\0" not in os.fsencode(value) and Path(value).is_absolute()
    except UnicodeEncodeError:
        return False


Into = Annotated[str, AfterValidator(_into)]
"""What a restore goes to: a relative path would mean another folder to each worker."""

T = TypeVar("T")


def is_asked(task: Task[Any, Any]) -> bool:
    """Whether the message that a task works on was sent by another application, and not by a run."""
    return bool((task.request.delivery_info or {}).get("routing_key") == QUEUE)


def checked(function: Callable[..., T]) -> Callable[..., T]:
    """For the function of a bound task, below `shared_task`: its keyword arguments are what their annotations say, or
    `BadRequest` is raised."""
    of_function = cache(partial(arguments, function))  # made at the first call: each takes some 20 ms

    @wraps(function)
    def call(task: Task[Any, Any], *positional: Any, **named: Any) -> T:
        model = of_function()
        if positional:
            raise BadRequest(f"`{task.name}` takes its arguments by name: {', '.join(model.model_fields)}")
        try:
            right = model.model_validate(named)
        except ValidationError as error:
            said = [_about(".".join(map(str, key)), text) for key, text in complaints(error, model, (), named)]
            raise BadRequest(f"`{task.name}`: {'; '.join(said)}".replace("unknown key", "is no argument")) from None
        return function(task, **{name: getattr(right, name) for name in model.model_fields})

    return call


def _about(argument: str, text: str) -> str:
    """A complaint with the name of what it is about; of what is missing it has the name already."""
    return text if text.startswith(f"`{argument}` ") else f"`{argument}` {text}"


def arguments(function: Callable[..., Any]) -> type[Model]:
    """The keyword arguments of a task's function, as a model."""
    named = [each for each in inspect.signature(function).parameters.values() if each.kind is each.KEYWORD_ONLY]

    def hinted() -> None:
        """Carries what is typed here; the task itself is of a class that knows no brackets."""

    hinted.__annotations__ = {each.name: each.annotation for each in named}
    hints = typing.get_type_hints(hinted, function.__globals__, include_extras=True)
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is each.empty else each.default) for each in named
    }
    return create_model(f"arguments of {function.__name__}", __base__=Model, **fields)

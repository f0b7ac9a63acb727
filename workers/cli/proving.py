"""What `verify` and `drill` share: each source at each destination is tried on its own, and one failure hides no
other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tasks.errors import BackupError, Damaged, exit_code_of
from tasks.outcome import Outcome
from tasks.progress import Progress
from tasks.stopwatch import Stopwatch
from workers.cli import screen
from workers.cli.following import watching
from workers.cli.main import shared_code
from workers.cli.session import Session

Pair = tuple[str, str]
"""A source and a destination."""


def tried(
    session: Session, pairs: list[Pair], doing: str, work: Callable[[str, str, Progress], Outcome]
) -> Iterator[dict[str, Any]]:
    """Of each pair the outcome as JSON, with what it took. `doing` is shown meanwhile, such as `verifying`."""
    for source, place in pairs:
        with watching(f"{doing} {source} at {place}", session.as_json) as progress:
            watch = Stopwatch()
            try:
                found = work(source, place, progress)
            except BackupError as error:
                failure = {"kind": error.kind, "message": str(error)}
                yield {"source": source, "destination": place, "state": "failed", "failure": failure}
                continue
        yield replace(found, figures=found.figures | watch.figures()).to_json()


def pairs_of(session: Session, source: str | None, destination: str | None, snapshot: str) -> list[Pair]:
    """Without the destinations that lack the snapshot, as one that was added later lacks the older ones; unless all
    do, which each then tells, or one is named."""

    def lacks(name: str, place: str) -> bool:
        try:
            ids = session.installation.repository(name, place).snapshot_ids()
        except BackupError:
            return False  # what is wrong there is told when it is its turn
        return not any(each.startswith(snapshot) for each in ids)

    pairs = session.pairs(source, destination)
    return pairs if destination else [pair for pair in pairs if not (snapshot and lacks(*pair))] or pairs


def show(session: Session, results: list[dict[str, Any]], said: Callable[[dict[str, Any]], str]) -> int:
    """Print them all, `said` of what did not fail; the exit code, which is that of damage where something is, else the
    one that all failures share."""
    if session.as_json:
        screen.print_json(results)
    for result in [] if session.as_json else results:
        what = f"{result['source']} at {result['destination']}"
        if result["state"] == "failed":
            screen.console.print(f"{what}: {result['failure']['message']}", style="red", markup=False, soft_wrap=True)
        else:
            screen.console.print(f"{what}: {said(result)}")
    failures = [result["failure"]["kind"] for result in results if result["state"] == "failed"]
    if Damaged.__name__ in failures:
        return Damaged.exit_code
    return shared_code(map(exit_code_of, failures))

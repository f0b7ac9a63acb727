"""`try`: a night on sample data, a day's work, another night, a drill, a disaster, and everything back: from one
command."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from tasks.configuration import load
from tasks.destinations import Local
from tasks.destinations.file_errors import explained
from tasks.drill import drill
from tasks.installation import Installation
from tasks.plan import begin
from tasks.repository import create_keys
from tasks.restore import Wanted, restore
from workers.cli import screen
from workers.cli.following import follow
from workers.cli.main import subcommand
from workers.cli.sample import Sample
from workers.cli.session import Session
from workers.embedded import embedded

_CONFIGURATION = """\
# Made by `geometra-backup try`; look around with `geometra-backup -c {file} list`.
state = "state"
scratch = "scratch"

[keys]
folder = "keys"
passphrase = "file:{folder}/keys/passphrase"

[destinations.vault]
kind = "local"
path = "vault"

[sources.config]
kind = "config"
paths = ["geometra-ai/config"]

[sources.logs]
kind = "logs"
paths = ["geometra-ai/logs"]

[sources.models]
kind = "models"
paths = ["geometra-ai/models"]

[sources.docs]
kind = "docs"
paths = ["geometra-ai/docs"]

[sources.test-data]
kind = "test_data"
paths = ["geometra-ai/test-data"]
{code}
[plans.nightly]
schedule = "30 2 * * *"
"""
_CODE = """
[sources.code]
kind = "source_code"
repositories = ["geometra-ai/geometra"]
"""


@subcommand("try")
@click.option("--folder", type=click.Path(path_type=Path), help="Work there and leave everything to be looked at.")
@click.option("--megabytes", default=64, show_default=True, help="Size of the sample models.")
def command(session: Session, folder: Path | None, megabytes: int) -> int:
    """See it work, with no configuration and no server: two nights on sample data, a drill, a disaster, a restore."""
    if folder is not None:
        folder = folder.absolute()
        with explained("work in", folder):
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise click.UsageError(f"`{folder}` is not empty: name a new folder")
            return _try(session, folder, megabytes)
    below = Path(tempfile.gettempdir())
    with explained("work in", below), tempfile.TemporaryDirectory(prefix="geometra-backup-try-", dir=below) as made:
        return _try(session, Path(made), megabytes)


def _try(session: Session, folder: Path, megabytes: int) -> int:
    told: dict[str, Any] = {"folder": str(folder)}
    show = not session.as_json
    began = time.monotonic()
    sample = Sample(folder / "geometra-ai", megabytes)
    with _step(show, "Made sample data: configuration, logs, float models, docs, test data, a git repository"):
        sample.make()
        installation = _install(folder, sample.has_git)
    with embedded(installation.settings, folder / "backup.toml"):
        told["first_night"] = _night(show, "first night", installation, session)
        with _step(show, "A day of work: logs grew and rotated, a model was tuned, code was committed"):
            sample.work()
        told["second_night"] = _night(show, "second night", installation, session)
    with _step(show, "Drilled every source: restored into a scratch folder, compared with what was captured, removed"):
        drilled = [drill(installation, source, "vault") for source in installation.settings.sources]
        told["compared_facts"] = sum(each.figures["compared_facts"] for each in drilled)
    before = tree(folder / "geometra-ai")
    state = repository_state(folder / "geometra-ai" / "geometra") if sample.has_git else {}
    with _step(show, f"Disaster: all {len(before):,} originals are destroyed"):
        shutil.rmtree(folder / "geometra-ai")
    with _step(show, "Restored every source from the vault, through the passphrase alone"):
        for source in installation.settings.sources:
            restore(installation, source, "vault", Wanted(folder / "restored"))
    after = tree(folder / "restored")
    code = repository_state(folder / "restored" / "geometra") if sample.has_git else {}
    different = _different(before, after)
    told["identical"] = not different and state == code
    told["seconds"] = round(time.monotonic() - began, 2)
    if show:
        _print(told, before, different, state, code)
    else:
        screen.print_json(told)
    return 0 if told["identical"] else 1


def _install(folder: Path, has_git: bool) -> Installation:
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    passphrase = secrets.token_urlsafe(18)
    document, writer, _ = create_keys(passphrase)
    for name, content in (
        ("keyring.json", document),
        ("writer.key", writer.to_text().encode()),
        ("passphrase", passphrase.encode()),
    ):
        with os.fdopen(os.open(keys / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    file_name = folder / "backup.toml"
    text = _CONFIGURATION.format(file=file_name, folder=folder, code=_CODE if has_git else "")
    file_name.write_text(text, encoding="utf-8")
    Local(Local.Settings(kind="local", path=folder / "vault")).prepare()
    return Installation(load(file_name))


def _night(show: bool, name: str, installation: Installation, session: Session) -> dict[str, Any]:
    started = time.monotonic()
    run = begin(installation, "nightly")
    report = follow(installation.record, run, session.as_json)
    figures = [step["figures"] for step in report["steps"].values() if step["verb"] == "backup"]
    told = {
        "state": report["state"],
        "holds_bytes": sum(each.get("content_bytes", 0) for each in figures),
        "read_bytes": sum(each.get("read_bytes", 0) for each in figures),
        "stored_bytes": sum(each.get("stored_bytes", 0) for each in figures),
        "sources": {step["source"]: step["snapshot"] for step in report["steps"].values() if step["verb"] == "backup"},
        "failures": report["failures"],
        "seconds": round(time.monotonic() - started, 2),
    }
    if show:
        good = report["state"] == "done"
        line = Text("  ✓ " if good else "  ✗ ", style="green" if good else "red")
        line.append(f"The {name}: ", style="bold")
        line.append(
            f"{len(figures)} sources captured, uploaded, verified and pruned in {screen.duration(told['seconds'])}:"
            f" {screen.size(told['holds_bytes'])} held, {screen.size(told['read_bytes'])} read,"
            f" {screen.size(told['stored_bytes'])} stored",
            style="default",
        )
        screen.console.print(line)
        for failure in report["failures"]:
            screen.console.print(f"      {failure['step']}: {failure['message']}", style="red", markup=False)
    return told


@contextmanager
def _step(show: bool, text: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    if show:
        screen.console.print(f"  [green]✓[/] {text} [dim]({screen.duration(time.monotonic() - began)})[/]")


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything in a folder but git's own: type, permissions, time, size, link and a hash of the bytes."""
    found: dict[str, tuple[Any, ...]] = {}
    for parent, folders, files in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        for name in (*folders, *files):
            path = Path(parent, name)
            about = path.lstat()
            link = os.readlink(path) if path.is_symlink() else ""
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not link else ""
            # A link's own mode is not settable everywhere; a working tree's times are not what git keeps.
            when = 0 if path.is_relative_to(folder / "geometra") else about.st_mtime_ns
            found[str(path.relative_to(folder))] = (about.st_mode, when, content or path.is_dir(), link)
    return found


def repository_state(repository: Path) -> dict[str, str]:
    """What git says of a repository: every ref, what is uncommitted, and whether all objects are sound."""

    def git(*arguments: str) -> str:
        command = ["git", "-c", f"safe.directory={repository}", *arguments]
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"

    return {
        "refs": git("for-each-ref", "--format=%(objectname) %(refname)"),
        "head": git("symbolic-ref", "HEAD"),
        "status": git("status", "--porcelain=v2"),
        "objects": git("fsck", "--full", "--no-progress"),
    }


def _different(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _print(
    told: dict[str, Any],
    before: dict[str, Any],
    different: list[str],
    state: dict[str, str],
    code: dict[str, str],
) -> None:
    if told["identical"]:
        git = f", and git's {len(state.get('refs', '').splitlines())} refs and uncommitted work" if state else ""
        what = f"All {len(before):,} files, folders and links are back, byte for byte, with modes and times{git}."
        screen.console.print(f"  [green]✓[/] [bold]{what}[/]")
    else:
        screen.console.print("  [red]✗ what came back differs[/]")
        for path in different[:20]:
            screen.console.print(f"      {path}", markup=False)
        for name, said in state.items():
            if said != code.get(name):
                screen.console.print(f"      git {name}", markup=False)
    first, second = told["first_night"], told["second_night"]
    new, held = second["stored_bytes"], second["holds_bytes"]
    share = first["stored_bytes"] / max(1, first["holds_bytes"])
    screen.console.print(
        f"\n  The first night stored {share:.0%} of what it holds. The second stored {screen.size(new)} for"
        f" {screen.size(held)}; {1 - new / max(1, held):.1%} was there already."
    )
    took = screen.duration(told["seconds"])
    screen.console.print(f"  Done in {took}. Next: `geometra-backup init` in a folder of yours.\n")

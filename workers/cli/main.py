"""The command line: which commands there are, and how an error ends one: in one clear line and a code to trust."""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from tasks.errors import BackupError
from workers.cli import names
from workers.cli.shown import shown

COMMANDS = {
    # command: module and what it does, in the order in which a new user meets them
    "try": ("sampling", "See it work: two nights on sample data, a drill, a disaster, a restore."),
    "init": ("init", "Write a commented backup.toml for what is found, and make the keys."),
    "check": ("check", "Try everything that tonight needs, changing nothing."),
    "run": ("run", "Back up now: a plan, or every source."),
    "serve": ("serve", "Workers, beat and a broker for this machine, in the foreground."),
    "status": ("status", "What is proven, and what is late, of every source."),
    "list": ("list", "The snapshots of one source, or of all."),
    "show": ("show", "One snapshot: its figures, flaws, facts and proofs."),
    "find": ("find", "Look for a path in all snapshots."),
    "diff": ("diff", "What changed between two snapshots."),
    "restore": ("restore", "Put a snapshot back: all of it, or only some paths."),
    "verify": ("verify", "Read back what is stored, and keep the proof beside it."),
    "drill": ("drill", "Restore into a scratch folder or server, compare, and keep the proof."),
    "mirror": ("mirror", "Bring a destination level with another: all of the history."),
    "prune": ("prune", "Let go what no rule keeps and something newer makes dispensable."),
    "policy": ("policy", "The least rights that a writer, a pruner or a reader needs at a destination."),
    "metrics": ("metrics", "Age, size, duration and proof of every source, for Prometheus."),
    "options": ("options", "Every option of backup.toml, for each kind, and of `restore -o`."),
    "completion": ("completion", "The completion script of a shell."),
}

INTERRUPTED = 130


class Lazy(click.Group):
    """Imports a command's module when it is asked for: completion and `--help` stay quick."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what is imported is no garbage: looking for some meanwhile is a sixth of the time it takes
        try:
            command: click.Command = importlib.import_module(f"workers.cli.{COMMANDS[cmd_name][0]}").command
        finally:
            gc.enable()
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-c",
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The backup.toml to use. Default: $GEOMETRA_BACKUP_CONFIG, ./backup.toml, /etc/geometra-backup/backup.toml.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output, for scripts.")
@click.version_option(package_name="geometra-backup")
@click.pass_context
def group(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Geometra backup: captures, proves and restores what Geometra AI keeps.

    Exit codes: 0 all is well; 1 something failed; 2 the command was not understood; 3 stored or restored, but
    incomplete; 65 damaged; 66 not found; 73 the target is occupied; 74 no space; 75 unavailable, try again; 77 refused,
    or a wrong key; 78 a setting is wrong; 130 interrupted.
    """
    from workers.cli.session import Session

    ctx.obj = Session(config, as_json)
    gc.freeze()  # what was imported is never garbage: looking through it again and again is 3 % of a long restore


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `geometra-backup`."""
    _open_streams()
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # As Ctrl-C does: what was started is ended, and nothing is left behind.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        code = group.main(args=arguments, prog_name="geometra-backup", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except BackupError as error:
        _fail(str(error), error.kind, as_json)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(error)
        if as_json:
            _fail(error.format_message(), "UsageError", as_json)
        sys.exit(error.exit_code)  # of a usage error 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("geometra-backup: interrupted", err=True)
        if as_json:
            _fail("interrupted", "Interrupted", as_json)
        sys.exit(INTERRUPTED)
    except OSError as error:
        _exit_without_output(error)


def _open_streams() -> None:
    """Those that are closed, as of a job that was started without any, go to nowhere: else what is opened next takes
    their numbers, and what other programs print would go into it. And a terminal of any encoding can show any name."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.close(number)  # what has come to be opened there meanwhile, such as a folder that was searched
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_without_output(error: OSError) -> NoReturn:
    """What was done is done; that nobody is told of it is a failure all the same. Raises what is another error."""
    from tasks.destinations.file_errors import explained

    try:
        with explained("write", Path("standard output")):
            sys.stdout.write("\n")
            sys.stdout.flush()
    except BackupError as lost:
        # Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(str(lost), lost.kind, as_json=False)
        sys.exit(lost.exit_code)
    raise error


def _fail(message: str, kind: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": {"kind": kind, "message": message}}))
    else:
        first, *more = shown(message).splitlines() or [""]
        click.secho(f"geometra-backup: {first}", fg="red", err=True)
        for line in more:
            click.echo(line, err=True)


def _show(error: click.ClickException) -> None:
    """As click does, but what it quotes, which was typed or pasted, has no say in what the terminal does."""
    with io.StringIO() as held:
        error.show(held)
        click.echo(shown(held.getvalue().expandtabs(4)), err=True, nl=False)


def exit_code(state: str) -> int:
    """The exit code for an outcome's or a report's state."""
    return {"done": 0, "incomplete": 3}.get(state, 1)


def shared_code(codes: Iterable[int]) -> int:
    """Of failures of several sources or destinations: the exit code that all have, or else that something failed; 0 of
    none."""
    different = set(codes)
    return different.pop() if len(different) == 1 else min(len(different), 1)


def subcommand(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command whose function gets the session first, and returns an exit code or nothing."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(name)(click.pass_obj(function))
        for parameter in made.params:
            if parameter.type is click.STRING and parameter.name in names.BY_PARAMETER:
                parameter.type = names.BY_PARAMETER[parameter.name]
        made.params.append(
            click.Option(["--json", "as_json"], is_flag=True, expose_value=False, callback=_json, help="Print JSON.")
        )
        return made

    return decorate


def _json(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj.as_json = True


if __name__ == "__main__":
    main()

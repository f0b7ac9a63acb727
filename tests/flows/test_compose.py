"""docker-compose.yml without Docker: its first lines, commands and health checks as processes of this machine, up
to a restore. Containers, images and the samples need an engine, and are not tried here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.trees import grow, state_of
from tests.free_port import free_port

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if not service.get("profiles")]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class Stack:
    """The services as child processes. What is a path in a container is one below `folder`, /tmp and the secrets one
    for each service; what listens, listens on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"6379": str(free_port()), "5555": str(free_port())}
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def set_up(self) -> None:
        """As the file's first lines say; the keys by the same command of the installed program."""
        lines = [line.removeprefix("#   ") for line in TEXT.splitlines() if line.startswith("#   ")]
        made = lines.index(next(line for line in lines if line.startswith("python3 workers ")))
        script = "\n".join(["set -eu", *lines[:made]])
        subprocess.run(["sh", "-c", script], cwd=self.folder, check=True)
        command = lines[made].partition(" #")[0].split()[2:]
        self.run_by_hand(["geometra-backup", *command], cwd=self.folder)
        for name in ("state", "backups", "broker"):
            (self.folder / name).mkdir()
        broker = self.folder / "secrets/broker"
        broker.write_text(broker.read_text().replace("@broker:6379", f"@127.0.0.1:{self.ports['6379']}"))
        for name, service in SERVICES.items():
            held = self.folder / name
            (held / "secrets").mkdir(parents=True)
            (held / "tmp").mkdir()
            for each in service.get("secrets", []):
                source, target = (each, each) if isinstance(each, str) else (each["source"], Path(each["target"]).name)
                file = self.folder / COMPOSE["secrets"][source]["file"]
                shutil.copy(file, held / "secrets" / target)
            (held / "backup.toml").write_text(self.toml(name))

    def toml(self, service: str) -> str:
        """The files alone; the stores are samples that need an engine. /backups is no mount point here."""
        text = re.sub(r"\[sources\.(?!files\])[^\[]*", "", COMPOSE["configs"]["backup_toml"]["content"])
        return self.here(service, text.replace('mounted = "/backups"\n', ""))

    def here(self, service: str, text: str) -> str:
        own = self.folder / service
        places = {
            "/etc/geometra-backup": own,
            "/run/secrets": own / "secrets",
            "/tmp": own / "tmp",  # noqa: S108 - the container's
            "/state": self.folder / "state",
            "/backups": self.folder / "backups",
            "/broker": self.folder / "broker",
            "/srv/geometra": self.folder / "geometra",
            "0.0.0.0": "127.0.0.1",  # noqa: S104 - not here
            **self.ports,
        }
        pattern = "|".join(map(re.escape, places))
        text = re.sub(rf"(?<![\w/.])({pattern})(?![\w-])", lambda found: str(places[found[0]]), text)
        return text.replace("$$", "$")

    def environment(self, service: str) -> dict[str, str]:
        """Nothing but what the service is given."""
        given = {name: self.here(service, value) for name, value in SERVICES[service].get("environment", {}).items()}
        return {"PATH": PATH} | given

    def start(self, service: str) -> None:
        command = [self.here(service, word) for word in SERVICES[service]["command"]]
        with (self.folder / service / "console.log").open("ab") as console:
            self.children[service] = subprocess.Popen(
                command,
                cwd=self.folder / service,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def is_healthy(self, service: str) -> bool:
        kind, *test = SERVICES[service]["healthcheck"]["test"]
        test = [self.here(service, word) for word in test]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        done = subprocess.run(command, env=self.environment(service), capture_output=True, check=False)
        return done.returncode == 0

    def wait_for_health(self, service: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_healthy(service):
            log = (self.folder / service / "console.log").read_text(errors="replace")
            assert self.children[service].poll() is None, log[-3000:]
            assert time.monotonic() < deadline, f"{service} is not healthy\n{log[-3000:]}"
            time.sleep(0.2)

    def console(self, *arguments: str) -> str:
        """`docker compose run --rm console ...`."""
        return self.run_by_hand([*SERVICES["console"]["entrypoint"], *arguments], cwd=self.folder / "console")

    def run_by_hand(self, command: list[str], cwd: Path) -> str:
        environment = self.environment("console")
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def command_lines(self) -> bytes:
        """Of all processes of these services, as everybody on the host can read them."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(process.name)) in {child.pid for child in self.children.values()}:
                    found.append((process / "cmdline").read_bytes())
            except OSError:
                continue
        assert len(found) >= len(self.children)
        return b"\n".join(found)

    def stop(self, *services: str) -> None:
        """All at once, each within its grace."""
        for name in services:
            self.children[name].terminate()
        for name in services:
            self.children[name].wait(int(SERVICES[name]["stop_grace_period"].removesuffix("s")))

    def end(self) -> None:
        for child in self.children.values():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    try:
        yield stack
    finally:
        stack.end()


@pytest.mark.timeout(240)  # eleven processes that start at once
@pytest.mark.needs("redis-server", "redis-cli")
def test_a_night_over_the_commands_of_the_file_is_proven_healthy_and_restored(stack: Stack) -> None:
    stack.set_up()
    grow(stack.folder / "geometra")
    before = state_of(stack.folder / "geometra")
    stack.start("broker")
    stack.wait_for_health("broker")
    for name in OURS:
        if name != "broker":
            stack.start(name)
    for name in OURS:
        stack.wait_for_health(name)

    checked = stack.console("check")
    assert "all pools" in checked
    assert re.search(r"beat.*`stack-\d+-\w+` is active", checked)
    assert "opens the private key" in checked
    stack.console("run")
    stack.console("status")
    stack.console("restore", "files", "--to", str(stack.folder / "restored"))
    assert state_of(stack.folder / "restored" / "geometra") == before

    keys = stack.folder / "secrets"
    password = re.search(r":([0-9a-f]{64})@", (keys / "broker").read_text())
    assert password
    login = (keys / "flower").read_text().strip()
    secrets = [password[1], login.partition(":")[2], (keys / "keys/passphrase").read_text().strip()]
    told = stack.command_lines().decode() + "".join(
        (stack.folder / name / "console.log").read_text(errors="replace") for name in OURS
    )
    assert [secret for secret in secrets if secret in told] == []

    stack.stop(*(name for name in OURS if name not in ("broker", "proof")))
    # Without its broker a worker is not healthy for long.
    stack.stop("broker")
    assert not stack.is_healthy("broker")
    time.sleep(1)
    alive = stack.folder / "proof/tmp/alive"
    last = alive.stat().st_mtime
    time.sleep(4.5)
    assert alive.stat().st_mtime == last
    os.utime(alive, (last - 90, last - 90))
    assert not stack.is_healthy("proof")

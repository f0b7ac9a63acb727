"""What a command imports before it does anything: a person waits for that."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["list", "show", "find", "diff", "restore", "verify", "drill", "prune", "mirror"])
def test_what_asks_no_broker_and_no_cloud_loads_no_client_of_one(command: str) -> None:
    script = f"import sys, workers.cli.{command}, workers.cli.session; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tasks" in loaded
    assert not loaded & {"redis", "opentelemetry", "boto3", "botocore", "azure", "google", "httpx", "psycopg"}

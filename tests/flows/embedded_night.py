"""A command as a person would start it: `embedded`, one night, its report on standard output. A child of flows.
`--beat` makes it as `serve` is; sources may follow."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.flows import kinds

kinds.register()

from tasks.configuration import load  # noqa: E402
from tasks.errors import Unavailable  # noqa: E402
from tasks.installation import Installation  # noqa: E402
from tasks.plan import begin  # noqa: E402
from workers.embedded import embedded  # noqa: E402


def main(file: Path, sources: Sequence[str], *, beat: bool) -> None:
    began = time.monotonic()
    installation = Installation(load(file))
    with embedded(installation.settings, file, beat=beat):
        ready = time.monotonic() - began
        run = begin(installation, sources=sources)
        tell(run=run.id, ready_seconds=ready)
        while (report := report_of(installation, run.id)) is None:
            time.sleep(0.05)
    tell(state=report["state"], failures=report["failures"])


def report_of(installation: Installation, run: str) -> dict[str, Any] | None:
    with suppress(Unavailable):  # its broker may be killed and come back
        return installation.record.report(run)
    return None


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [name for name in sys.argv[2:] if name != "--beat"], beat="--beat" in sys.argv)

"""`python -m tests.benchmarks.transfers`: packs up and down through our destinations, beside the SDKs' own plain calls.

The same objects, client settings and server for all, each in a process of its own and in turns: ours, the SDK's calls
in as many threads, and the SDK's plain calls, one after the other, as a script makes them. Ratios are of medians; above
`--most` of the time of the plain calls, or above `--memory`, this fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tasks.destinations import open_destination
from tasks.destinations.azure_settings import AzureSettings
from tasks.destinations.gcs_settings import GcsSettings
from tasks.destinations.s3_settings import S3Settings
from tasks.memory import keep_freed_memory
from tasks.settings import DestinationSettings
from tasks.stopwatch import Stopwatch

MIB = 1 << 20
SETTINGS: dict[str, type[DestinationSettings]] = {"s3": S3Settings, "azure": AzureSettings, "gcs": GcsSettings}
STORES = {"moto": "s3", "rgw": "s3", "azurite": "azure", "gcs": "gcs"}
"""The servers, and the kind of destination that each is for."""
VERBS = ("put", "get")
WHO = ("ours", "sdk", "plain")
"""Plain: the SDK's calls, one after the other."""


class Measured(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: float


class Sdk(NamedTuple):
    """An SDK's own calls for one object."""

    put: Callable[[str, Path], object]
    get: Callable[[str], bytes]


def s3_sdk(settings: Any) -> Sdk:
    import boto3
    from botocore.config import Config

    client = boto3.session.Session(
        settings.access_key.read(), settings.secret_key.read(), region_name="us-east-1"
    ).client(
        "s3",
        endpoint_url=settings.endpoint,
        config=Config(s3={"addressing_style": "path"}),
    )

    def put(name: str, file: Path) -> None:
        with file.open("rb") as body:
            client.put_object(Bucket=settings.bucket, Key=name, Body=body, IfNoneMatch="*")

    def get(name: str) -> bytes:
        return client.get_object(Bucket=settings.bucket, Key=name)["Body"].read()

    return Sdk(put, get)


def azure_sdk(settings: Any) -> Sdk:
    from azure.storage.blob import ContainerClient

    account = settings.url.rpartition("/")[2]
    credential: Any = {"account_name": account, "account_key": settings.account_key.read()}
    client = ContainerClient(settings.url, settings.container, credential=credential)

    def put(name: str, file: Path) -> None:
        with file.open("rb") as body:
            client.upload_blob(name, body, length=file.stat().st_size, overwrite=False)

    def get(name: str) -> bytes:
        return client.download_blob(name).readall()

    return Sdk(put, get)


def gcs_sdk(settings: Any) -> Sdk:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = storage.Client("anonymous", credentials, client_options={"api_endpoint": settings.endpoint})
    bucket = client.bucket(settings.bucket)

    def put(name: str, file: Path) -> None:
        bucket.blob(name).upload_from_filename(str(file), if_generation_match=0)

    def get(name: str) -> bytes:
        content: bytes = bucket.blob(name).download_as_bytes()
        return content

    return Sdk(put, get)


SDKS: dict[str, Callable[[Any], Sdk]] = {"s3": s3_sdk, "azure": azure_sdk, "gcs": gcs_sdk}


def child(asked: dict[str, Any]) -> dict[str, float]:
    """All objects in one direction, after one that opened the connections; in a process of its own."""
    settings = SETTINGS[asked["kind"]].model_validate(asked["settings"])
    files = sorted(Path(asked["folder"]).iterdir())
    if asked["who"] == "ours":
        keep_freed_memory()  # as every process of ours does
        ours = open_destination(settings)
        calls = Sdk(ours.put, ours.get)
    else:
        calls = SDKS[asked["kind"]](settings)

    def work(file: Path) -> None:
        name = f"{asked['under']}/{file.name}"
        if asked["verb"] == "put":
            calls.put(name, file)
        elif len(calls.get(name)) != file.stat().st_size:
            raise ValueError(f"{name} came back with another size")

    with ThreadPoolExecutor(asked["threads"]) as threads:
        first, *others = files
        work(first)
        watch = Stopwatch()
        list(threads.map(work, others))
    return watch.figures()


def measure(asked: dict[str, Any]) -> Measured:
    command = [sys.executable, "-m", "tests.benchmarks.transfers", "--child", json.dumps(asked)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=root, timeout=900)
    return Measured(**json.loads(done.stdout))


@contextmanager
def served(store: str, folder: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """A server, and what makes a new, empty place in it: its settings as JSON."""
    from tests.stores.azure import azure_server
    from tests.stores.gcs import gcs_server
    from tests.stores.rgw import rgw_server
    from tests.stores.s3 import s3_server

    def found(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            raise FileNotFoundError(f"`{program}` is not on PATH")
        return path

    if store == "moto":
        with s3_server(folder) as s3:
            yield lambda: _plain(s3.settings(s3.bucket()))
    elif store == "rgw":
        with rgw_server(folder, found) as rgw:
            yield lambda: _plain(rgw.settings(rgw.bucket()))
    elif store == "azurite":
        with azure_server(folder, found) as azure:
            yield lambda: _plain(azure.settings(azure.container()))
    else:
        with gcs_server(folder) as gcs:
            yield lambda: _plain(gcs.settings(gcs.bucket()))


def _plain(settings: DestinationSettings) -> dict[str, Any]:
    """As backup.toml has it: of a secret, where it is found."""
    values = {name: value for name, value in settings.model_dump(mode="json").items() if value is not None}
    return {name: value["reference"] if isinstance(value, dict) else value for name, value in values.items()}


def compare(store: str, *, packs: Path, threads: int, repeat: int, scratch: Path) -> dict[str, dict[str, Measured]]:
    """By verb and by who of `WHO`; medians."""
    kind = STORES[store]
    rounds: dict[tuple[str, str], list[Measured]] = {}
    folder = scratch / store
    folder.mkdir()
    with served(store, folder) as place:
        for turn in range(repeat):
            order = WHO if turn % 2 == 0 else WHO[::-1]
            settings = place()
            for verb in VERBS:
                for who in order:
                    asked: dict[str, Any] = {
                        "kind": kind,
                        "settings": settings,
                        "verb": verb,
                        "who": who,
                        "under": f"{who}/{turn}",
                    }
                    asked |= {"folder": str(packs), "threads": 1 if who == "plain" else threads}
                    rounds.setdefault((verb, who), []).append(measure(asked))
            destination = open_destination(SETTINGS[kind].model_validate(settings))
            for each in list(destination.list()):
                destination.delete(each.name)
    return {verb: {who: Measured(*map(median, zip(*rounds[verb, who], strict=True))) for who in WHO} for verb in VERBS}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.transfers", description=__doc__)
    parser.add_argument("--store", nargs="+", choices=list(STORES), default=list(STORES), help="default: all")
    parser.add_argument("--packs", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=16, help="of each pack")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3, help="rounds, of which the medians count")
    parser.add_argument("--most", type=float, default=1.0, help="of the plain calls' time, above which this fails")
    parser.add_argument("--memory", type=float, default=250, help="MB at the peak, above which this fails")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child is not None:
        print(json.dumps(child(asked.child)))
        return 0
    tmpfs = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a private folder is made in it
    failed = False
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="transfers-", dir=tmpfs)))
        packs = scratch / "packs"
        packs.mkdir()
        for number in range(asked.packs):
            (packs / f"{number:03}").write_bytes(random.Random(number).randbytes(asked.megabytes * MIB))
        total = (asked.packs - 1) * asked.megabytes
        print(
            "| store | | ours s | SDK s | ratio | plain s | ratio | MiB/s | ours CPU s | SDK CPU s | ours MB | SDK MB |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|---|")
        for store in asked.store:
            found = compare(store, packs=packs, threads=asked.threads, repeat=asked.repeat, scratch=scratch)
            for verb, by in found.items():
                ours, sdk, plain = (by[who] for who in WHO)
                ratios = [ours.seconds / other.seconds for other in (sdk, plain)]
                failed |= ratios[1] > asked.most or ours.peak_memory_bytes > asked.memory * 1e6
                print(
                    f"| {store} | {verb} | {ours.seconds:.2f} | {sdk.seconds:.2f} | {ratios[0]:.2f} |"
                    f" {plain.seconds:.2f} | {ratios[1]:.2f} |"
                    f" {total / ours.seconds:.0f} | {ours.cpu_seconds:.2f} | {sdk.cpu_seconds:.2f} |"
                    f" {ours.peak_memory_bytes / 1e6:.0f} | {sdk.peak_memory_bytes / 1e6:.0f} |",
                    flush=True,
                )
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

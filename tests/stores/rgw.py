"""S3 as Ceph's RADOS Gateway gives it: real signatures, users, policies and object locks. A cluster of one monitor and
one store in memory, from Debian's packages, without becoming root and without leaving anything behind."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.secret import Secret
from tests.free_port import free_port
from tests.stores.child_server import child_server
from tests.stores.s3 import KEY, SECRET, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SETTINGS = """
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms bind msgr2 = false
paxos propose interval = 0.01
paxos min wait = 0.01
mon tick interval = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 2000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
osd class update on start = false
osd crush update on start = false
osd class load list = *
osd class default list = *
admin socket = {folder}/$name.asok
run dir = {folder}
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
rgw gc obj min wait = 1
rgw gc processor period = 1
rgw data log num shards = 1
rgw md log max shards = 1
"""
_PROGRAMS = {"radosgw": "radosgw", "ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "radosgw-admin": "radosgw"}


class RgwServer(S3Server):
    """`settings` are those of the buckets' owner, who may do everything that nobody's lock forbids."""

    def __init__(self, url: str, folder: Path, configuration: Path) -> None:
        super().__init__(url, folder)
        self._configuration = configuration
        self._users: set[str] = set()

    def start(self) -> None:
        """Make the owner, once the server answers."""
        self._admin("user", "create", "--uid=owner", f"--access-key={KEY}", f"--secret-key={SECRET}", caps=True)

    def locking_bucket(self) -> str:
        """A new one whose objects can be locked, and have versions."""
        self._buckets += 1
        name = f"locking-{self._buckets}"
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        return name

    def user(self, name: str, policy: dict[str, Any]) -> dict[str, Secret]:
        """The options of a user who may do what the policy says and nothing else."""
        if name not in self._users:
            self._admin("user", "create", f"--uid={name}", f"--access-key={name}-key", f"--secret-key={name}-secret")
            self._users.add(name)
            for what in ("key", "secret"):
                (self.folder / f"{name}-{what}").write_text(f"{name}-{what}")
        self.iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        return {
            "access_key": Secret(reference=f"file:{self.folder / f'{name}-key'}"),
            "secret_key": Secret(reference=f"file:{self.folder / f'{name}-secret'}"),
        }

    def limit(self, bucket: str, size: int) -> None:
        """From now on the bucket takes so many bytes."""
        of = ["--quota-scope=bucket", f"--bucket={bucket}"]
        for command in (["quota", "set", *of, f"--max-size={size}"], ["quota", "enable", *of]):
            _run(["radosgw-admin", "-c", str(self._configuration), *command])

    def client_of(self, name: str) -> S3Client:
        """The SDK itself, with what a thief of that user's key has."""
        import boto3

        return boto3.session.Session(f"{name}-key", f"{name}-secret", region_name="us-east-1").client(
            "s3", endpoint_url=self.url
        )

    @cached_property
    def iam(self) -> Any:
        import boto3

        return boto3.session.Session(KEY, SECRET, region_name="us-east-1").client("iam", endpoint_url=self.url)

    def _admin(self, *command: str, caps: bool = False) -> None:
        rights = ["--caps=users=*;user-policy=*;roles=*"] if caps else []
        name = next(part.removeprefix("--uid=") for part in command if part.startswith("--uid="))
        _run(["radosgw-admin", "-c", str(self._configuration), *command, f"--display-name={name}", *rights])


@contextmanager
def rgw_server(folder: Path, require: Callable[[str], str]) -> Iterator[RgwServer]:
    for program in _PROGRAMS:
        require(program)
    port, own, fsid = free_port(), free_port(), str(uuid.uuid4())
    configuration = folder / "ceph.conf"
    configuration.write_text(_SETTINGS.format(fsid=fsid, port=port, folder=folder))
    conf = ["-c", str(configuration)]
    (folder / "osd").mkdir()
    _run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{port}]", str(folder / "monmap")])
    _run(["ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", str(folder / "monmap")])
    with child_server(["ceph-mon", *conf, "-f", "-i", "a"], port, folder / "mon.out"):
        osd = str(uuid.uuid4())
        _run(["ceph", *conf, "osd", "new", osd])
        # By hand: a store that does it itself may do so before it has heard which cluster it is in, and then ends.
        _run(["ceph", *conf, "osd", "crush", "add", "0", "1", "host=here", "root=default"])
        _run(["ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd])
        gateway = ["radosgw", *conf, "-f", "-n", "client.admin", f"--rgw-frontends=beast endpoint=127.0.0.1:{own}"]
        with (
            child_server(["ceph-osd", *conf, "-f", "-i", "0"], None, folder / "osd.out"),
            child_server(gateway, own, folder / "rgw.out"),
        ):
            server = RgwServer(f"http://127.0.0.1:{own}", folder, configuration)
            server.start()
            yield server


def _run(command: list[str]) -> None:
    """Again while the cluster is not ready yet."""
    said = b""
    for attempt in range(3):
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        if ended.returncode == 0:
            return
        said = ended.stdout
        time.sleep(1 + attempt)
    raise AssertionError(f"{command[0]}: {said.decode(errors='replace')[-2000:]}")

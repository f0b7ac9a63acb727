"""A night over a guarded broker: TLS, and a user with the rights that BROKER.md says and no more."""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
import redis
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from kombu import Connection

from tasks.beat_record import BeatRecord
from tasks.broker import broker_url, connect
from tasks.settings import Settings
from tests.flows.house import House
from tests.flows.test_flower import Flower
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.free_port import free_port
from tests.redis_process import KEEPING, RedisProcess
from workers.unserved import unserved

TEXT = (Path(__file__).parents[2] / "workers/BROKER.md").read_text(encoding="utf-8")
PASSWORD = "of-the-workers-5180"


def certificate(folder: Path, name: str, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself, for a host, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / f"{name}.pem", folder / f"{name}.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    private.chmod(0o600)
    return public, private


class GuardedRedis(RedisProcess):
    """Listens with TLS alone, and on the socket of the test; its users are those of BROKER.md."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.certificate, key = certificate(folder, "server", host)
        self.tls = free_port()
        tls = ["--tls-port", str(self.tls), "--tls-cert-file", str(self.certificate), "--tls-key-file", str(key)]
        super().__init__(folder, "--bind", "127.0.0.1", *tls, "--tls-auth-clients", "no", *KEEPING)

    @property
    def url(self) -> str:
        ca = f"?ssl_ca_certs={self.certificate}"
        return f"rediss://geometra-backup:{PASSWORD}@127.0.0.1:{self.tls}/0{ca}"

    def start(self) -> None:
        super().start()
        rule = re.findall(r"^user (geometra-backup .*)$", TEXT, re.MULTILINE)[0].replace(">PASSWORD", f">{PASSWORD}")
        with closing(self.client()) as client:
            client.execute_command("ACL", "SETUSER", *rule.split())  # type: ignore[no-untyped-call]

    def denied(self) -> list[str]:
        """What was refused of it, of all users."""
        with closing(self.client()) as client:
            return [f"{entry['reason']} {entry['object']}" for entry in client.acl_log()]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="gbt-") as folder:
        server = GuardedRedis(Path(folder))
        try:
            server.start()
            house = House(tmp_path, server)
            try:
                yield house
            finally:
                house.close()
        finally:
            server.kill()


def test_a_night_needs_tls_and_no_more_rights_than_the_document_says(
    guarded: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, server = guarded, guarded.broker
    assert isinstance(server, GuardedRedis)
    due = datetime.now(UTC) - timedelta(hours=2)
    nightly = {"schedule": f"{due.minute} {due.hour} * * *", "timezone": "UTC"}
    sources = {"docs": tree(house, "docs", "docs"), "models": tree(house, "models", "models", large=9_000_000)}
    house.configure(sources, {"here": local(house)}, {"nightly": nightly})
    BeatRecord(house.client).mark("plan nightly", datetime.now(UTC) - timedelta(days=1))
    house.worker()
    house._start(["worker", "-n", "as-in-the-README@test", "-Q", "restore", "-c", "1"], {})
    house.beat()
    flower = Flower(free_port())
    house.flower(flower.port)
    (run,) = house.wait_for(house.record.runs, "the run")
    report = house.report(run.id)
    assert report["state"] == "done", report["failures"]
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)
    with house.configured():
        house.wait_for(lambda: unserved(house.installation.settings) == [], "an answer of the workers")
    house.wait_for(flower.is_up, "Flower")
    house.wait_for(lambda: "as-in-the-README@test" in flower.page("/workers")[1], "what it hears of the workers")
    assert server.denied() == []
    with closing(connect(server.url)) as client:
        for command in (("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "elsewhere"), ("SHUTDOWN",),
                        ("ACL", "LIST"), ("PUBLISH", "elsewhere", "x")):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)  # type: ignore[no-untyped-call]
    assert_restores(house, originals_of(house, "docs", "models"))


@pytest.mark.parametrize(("host", "ca"), [("127.0.0.1", "other.pem"), ("127.0.0.2", "server.pem")])
def test_a_server_that_is_another_is_not_talked_to(tmp_path: Path, host: str, ca: str) -> None:
    """Its certificate is by an authority that is not ours, or for another host."""
    with tempfile.TemporaryDirectory(prefix="gbt-") as folder:
        server = GuardedRedis(Path(folder), host)
        certificate(Path(folder), "other")
        try:
            server.start()
            url = server.url.replace("server.pem", ca)
            with mock.patch.dict(os.environ, {"GEOMETRA_BACKUP_BROKER": url}):
                used = broker_url(Settings(destinations={}, sources={}))
            with closing(connect(used, patient=False)) as client, pytest.raises(redis.ConnectionError, match="verify"):
                client.ping()
            with Connection(used) as connection, pytest.raises(Exception, match="verify"):
                connection.connect()
            backend = Celery("results", backend=used, set_as_current=False).backend
            with pytest.raises(redis.ConnectionError, match="verify"):
                backend.client.ping()  # type: ignore[attr-defined]  # of Redis' own
        finally:
            server.kill()

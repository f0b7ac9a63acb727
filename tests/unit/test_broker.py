"""Where the broker is."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.broker import broker_url, connect, is_embedded, socket_path
from tasks.errors import SettingsError
from tasks.secret import Secret
from tasks.settings import Settings
from tests.redis_process import redis_process


def settings(**options: Any) -> Settings:
    return Settings(destinations={}, sources={}, **options)


@pytest.fixture(autouse=True)
def _no_broker_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOMETRA_BACKUP_BROKER", raising=False)


def test_without_a_broker_it_is_the_embedded_one_below_the_state_folder() -> None:
    embedded = settings(state=Path("/srv/state"))
    assert is_embedded(embedded)
    assert broker_url(embedded) == "redis+socket:///srv/state/broker/broker.sock?virtual_host=0"


@pytest.mark.parametrize("state", ["/srv/" + "long" * 30, "/srv/with space", "/srv/per%cent", "/srv/ü"])
def test_a_path_too_long_or_too_odd_for_a_socket_gets_a_short_one_of_its_own(state: str) -> None:
    path = socket_path(settings(state=Path(state)))
    assert len(bytes(path)) <= 100
    assert path.parent.parent == Path("/tmp")  # noqa: S108 - the folder itself is private
    assert path == socket_path(settings(state=Path(state)))
    assert path != socket_path(settings(state=Path(state + "2")))


def test_the_environment_comes_before_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://configured:6379/0\n")
    named = settings(broker=Secret(reference=f"file:{tmp_path / 'url'}"))
    assert not is_embedded(named)
    assert broker_url(named) == "redis://configured:6379/0"
    monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", "redis://from-environment:6379/0")
    assert broker_url(named) == "redis://from-environment:6379/0"
    assert not is_embedded(settings())


def test_what_is_no_redis_url_is_refused_without_telling_it(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://user:secret@host")
    with pytest.raises(SettingsError, match="must hold a Redis URL") as refused:
        broker_url(settings(broker=Secret(reference=f"file:{tmp_path / 'url'}")))
    assert "secret@" not in str(refused.value)


def test_over_tls_the_certificate_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, used in (
        ("rediss://u:p%40@host:6379/0", "rediss://u:p%40@host:6379/0?ssl_cert_reqs=required"),
        (
            "rediss://host:6379/0?ssl_ca_certs=/etc/own/ca.pem",
            "rediss://host:6379/0?ssl_ca_certs=/etc/own/ca.pem&ssl_cert_reqs=required",
        ),
        ("rediss://host:6379/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://host:6379/0?ssl_cert_reqs=required"),
    ):
        monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", url)
        assert broker_url(settings()) == used


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+socket://:hunter2@/run/redis.sock", "for a Unix socket, which Celery would show"),
        ("redis+socket://user:hunter2@/run/redis.sock?virtual_host=0", "for a Unix socket, which Celery would show"),
        ("redis+socket:///run/redis.sock?virtual_host=0&password=hunter2", "behind the `?`"),
        ("redis://host:6379/0?password=hunter2", "behind the `?`"),
        ("rediss://:hunter2@host:6379/0?ssl_cert_reqs=none", "turns off the check of the server's certificate"),
        ("rediss://:hunter2@host:6379/0?ssl_cert_reqs=CERT_OPTIONAL", "turns off the check"),
    ],
)
def test_what_would_tell_the_password_or_talk_to_anybody_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", url)
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        broker_url(settings())
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).startswith("GEOMETRA_BACKUP_BROKER has ") or "turns off" in said


def test_a_socket_url_connects() -> None:
    with redis_process() as server, closing(connect(server.url)) as client:
        assert client.ping()
        client.set("a", "text")
        assert client.get("a") == "text"

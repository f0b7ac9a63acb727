"""Clouds over TLS, with a certificate of an authority that only `ca_file` names; and as at Amazon, with trailers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.probe import probe
from tasks.destinations.remote import RemoteSettings
from tasks.destinations.s3_settings import S3Settings
from tasks.errors import Exists, Refused, SettingsError
from tests.contracts.destination_contract import DestinationObjects
from tests.stores.azure import AzureServer
from tests.stores.gcs import GcsServer
from tests.stores.rgw import RgwServer
from tests.stores.s3 import KEY, SECRET, S3Server
from tests.stores.tls_front import tls_front


@pytest.fixture(params=["s3", "azure", "gcs"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., RemoteSettings]]:
    """Makes the settings of a cloud behind TLS, without any `ca_file` of their own."""
    server: Any = request.getfixturevalue(request.param)
    with tls_front(server.url, tmp_path) as front:
        if isinstance(server, S3Server):
            yield lambda **other: server.settings(server.bucket(), endpoint=front.url, **other)
        elif isinstance(server, AzureServer):
            yield lambda **other: server.settings(server.container(), url=front.url, **other)
        else:
            assert isinstance(server, GcsServer)
            yield lambda **other: server.settings(server.bucket(), endpoint=front.url, **other)


def test_a_certificate_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else(
    made: Callable[..., RemoteSettings], tmp_path: Path
) -> None:
    found = [tried.says for tried in probe(open_destination(made(ca_file=tmp_path / "ca.pem")))]
    assert found == ["writes", "reads", "lists", "never overwrites", "deletes"]
    with pytest.raises(Refused, match=r"the certificate of .* is not trusted: .*`ca_file`") as caught:
        open_destination(made()).get("anything")
    assert len(str(caught.value).splitlines()) == 1


def test_authorities_that_cannot_be_read_are_named_and_not_waited_for(
    made: Callable[..., RemoteSettings], tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name, why in (("none.pem", "No such file"), ("empty.pem", "no certificate in PEM")):
        with pytest.raises(SettingsError, match=rf"{name}`: .*{why}"):
            open_destination(made(ca_file=tmp_path / name)).get("anything")


class TestRgwOverTls(DestinationObjects):
    """A real service behind TLS: there the SDK would sign no payload, and send trailers, which this one refuses."""

    @pytest.fixture
    def destination(self, rgw: RgwServer, tmp_path: Path) -> Iterator[Destination]:
        with tls_front(rgw.url, tmp_path) as front:
            yield open_destination(rgw.settings(rgw.bucket(), endpoint=front.url, ca_file=front.ca_file))


def test_as_at_amazon_over_tls(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an `endpoint` in backup.toml it is Amazon's; where the SDK's own variable leads elsewhere, that is as
    near as a test comes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    content, bucket = bytes(range(256)) * 40_000, s3.bucket()
    with tls_front(s3.url, tmp_path) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", front.url)
        settings = S3Settings(bucket=bucket, default_credentials=True, path_style=True, ca_file=front.ca_file)
        destination = open_destination(settings)
        (tmp_path / "file").write_bytes(content)
        destination.put("packs/one", tmp_path / "file")
        destination.put("packs/two", content)
        with pytest.raises(Exists):
            destination.put("packs/one", b"other")
        assert destination.get("packs/one") == destination.get("packs/two") == content
        assert destination.get("packs/one", 1000, 5000) == content[1000:6000]
    assert s3.client.get_object(Bucket=bucket, Key="packs/one")["Body"].read() == content

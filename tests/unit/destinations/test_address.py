"""Destinations named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.destinations import open_destination
from tasks.destinations.address import settings_at
from tasks.destinations.azure_settings import AzureSettings
from tasks.destinations.gcs_settings import GcsSettings
from tasks.destinations.local import LocalSettings
from tasks.errors import Refused, SettingsError
from tests.stores.s3 import KEY, SECRET, S3Server


def test_a_bucket_is_read_with_what_the_sdk_finds(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket()
    open_destination(s3.settings(bucket, prefix="geometra/here")).put("docs/repository", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    found = open_destination(settings_at(f"s3://{bucket}/geometra/here/"))
    assert [each.name for each in found.list()] == ["docs/repository"]
    assert found.get("docs/repository") == b"x"


def test_each_kind_has_its_own_way_of_being_named(tmp_path: Path) -> None:
    assert settings_at(str(tmp_path)) == LocalSettings(path=tmp_path)
    assert settings_at("gs://some-bucket") == GcsSettings(bucket="some-bucket", default_credentials=True)
    azure = settings_at("https://account.blob.core.windows.net/backups/geometra")
    assert isinstance(azure, AzureSettings)
    assert (azure.url, azure.container, azure.prefix) == (
        "https://account.blob.core.windows.net",
        "backups",
        "geometra",
    )
    assert settings_at(f"{tmp_path.as_uri()}/a%20disk") == LocalSettings(path=tmp_path / "a disk")


@pytest.mark.parametrize(
    "address", ["s3://", "https://[half", "http://host/container", "azure://container", "file://host/x"]
)
def test_what_names_no_store_is_one_clear_line(address: str) -> None:
    with pytest.raises(SettingsError, match="--from") as caught:
        settings_at(address)
    assert len(str(caught.value).splitlines()) == 1


def test_credentials_that_are_nowhere_are_asked_for_by_the_names_of_their_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Refused, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        list(open_destination(settings_at("s3://bucket")).list())

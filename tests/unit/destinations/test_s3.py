"""What the contract leaves open about S3: what it says of wrong settings, and what it needs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.destinations import open_destination
from tasks.destinations.probe import probe
from tasks.destinations.s3_loader import LOADER
from tasks.destinations.s3_settings import S3Settings
from tasks.errors import NoStore, SettingsError
from tasks.secret import Secret
from tests.stores.s3 import S3Server


def test_a_missing_bucket_is_told_in_one_line_and_not_waited_for(s3: S3Server) -> None:
    with pytest.raises(NoStore, match=r"there is no S3 bucket `nowhere`.*correct `bucket`") as caught:
        list(probe(open_destination(s3.settings("nowhere"))))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(NoStore):
        list(open_destination(s3.settings("nowhere")).list())
    with pytest.raises(NoStore):
        open_destination(s3.settings("nowhere")).get("a")
    with pytest.raises(NoStore):
        open_destination(s3.settings("nowhere")).delete("a")


def test_the_probe_finds_all_that_a_night_needs(s3: S3Server) -> None:
    found = [tried.says for tried in probe(open_destination(s3.settings(s3.bucket(), headers=("X-Tenant: backup",))))]
    assert found == ["writes", "reads", "lists", "never overwrites", "deletes"]


@pytest.mark.parametrize(
    ("signature", "headers", "advised"),
    [
        ("s3v4", (), False),
        ("s3", (), False),
        ("s3v4", ("X-Unchecked: yes",), True),
        # There we look ourselves.
        ("s3", ("X-Unchecked: yes",), False),
    ],
)
def test_the_probe_finds_a_service_that_takes_what_arrives_damaged(
    s3: S3Server, signature: str, headers: tuple[str, ...], advised: bool
) -> None:
    destination = open_destination(s3.settings(s3.bucket(), signature=signature, headers=headers))
    found = [tried for tried in probe(destination) if tried.advice]
    assert [tried.says for tried in found] == ["it does not look whether what arrives is what was sent"] * advised
    assert all("`verify`" in tried.advice for tried in found)
    assert list(destination.list()) == []


def test_a_secret_that_is_not_there_is_named_and_nothing_is_connected(s3: S3Server) -> None:
    with pytest.raises(SettingsError, match="NO_SUCH_SECRET"):
        open_destination(s3.settings("any", secret_key=Secret(reference="env:NO_SUCH_SECRET"))).get("a")


def test_credentials_are_given_or_looked_for_never_both_nor_neither(s3: S3Server) -> None:
    with pytest.raises(ValidationError, match="default_credentials"):
        S3Settings(bucket="any")
    with pytest.raises(ValidationError, match="default_credentials"):
        s3.settings("any", default_credentials=True)
    S3Settings(bucket="any", default_credentials=True)
    with pytest.raises(ValidationError, match="credentials have options of their own"):
        s3.settings("any", endpoint="https://user:pass@example.com")


def test_the_description_of_s3_is_kept_in_plain_dictionaries() -> None:
    """As boto3 reads it, it takes half as much again. Fails should a new botocore not ask for it in this way."""
    loaded = LOADER().load_service_model("s3", "service-2")
    assert type(loaded["operations"]["PutObject"]) is dict

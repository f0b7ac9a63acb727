"""Objects in a bucket of Amazon S3, or of a service that speaks its language. With the errors, the locks and the past
versions beside it, all that knows boto3."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, Any, BinaryIO, ClassVar, cast

from tasks.destinations.body import Altered, Body, body_of, is_whole
from tasks.destinations.destination import Data, Listed, check_name, check_prefix, check_range, check_size
from tasks.destinations.foreign import Foreign, check_span, kept_with
from tasks.destinations.immutable import Terms
from tasks.destinations.pace import Handed, Pace
from tasks.destinations.per_process import PerProcess
from tasks.destinations.pouring import poured
from tasks.destinations.remote import CHECKSUM, Page, bounds, check_arrived, check_authorities, listed
from tasks.destinations.s3_errors import explained, is_marked, only_of_s3
from tasks.destinations.s3_loader import LOADER
from tasks.destinations.s3_lock import S3Lock
from tasks.destinations.s3_past import S3Past
from tasks.destinations.s3_settings import S3Settings
from tasks.errors import BackupError, Damaged, Refused, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3:
    """Create-only by `If-None-Match: *`. The service checks each upload: by its SHA-256, which is a part of the newer
    signature, or by its MD5 with the old one, where we also look that what it stored has it. Whole reads are checked by
    a checksum kept beside the object. One request for each object, whatever its size, so there is nothing unfinished to
    be left behind."""

    Settings: ClassVar[type[S3Settings]] = S3Settings

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._bucket, self._where = settings.bucket, settings.where
        self._client = PerProcess(self._connect)
        self._pace = PerProcess(lambda: Pace(settings.bytes_a_second))
        self._lock = S3Lock(settings.bucket, self._where, Terms(settings), self._explained)
        self._by_md5 = settings.signature == "s3"
        self._tags_are_md5 = self._by_md5
        self._past = settings.as_of and S3Past(
            settings.bucket,
            settings.prefix,
            settings.as_of,
            where=self._where,
            client=self._client,
            explained=self._explained,
        )

    def put(self, name: str, data: Data) -> None:
        check_name(name)
        if self._past:
            raise self._past.refused("store", name)
        with body_of(data) as body:
            self._store(name, body)

    def refuses_damaged(self, name: str) -> bool:
        try:
            self._store(check_name(name), Altered(memoryview(os.urandom(1024))))
        except (Refused, Unavailable) as error:
            if isinstance(error.__cause__, Foreign):
                raise
            return True
        return False

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        if offset < 0 or (length is not None and length <= 0):
            check_range(name, self._size(name), offset, length)
            return b""
        first, last = bounds(offset, length)
        whole = first == 0 and last is None
        with self._explained("read", name) as answer:
            found: Any = {}
            version = self._past.named(name) if self._past else {}
            byte_range: Any = {} if whole else {"Range": f"bytes={first}-{'' if last is None else last}"}
            with nullcontext() if whole else answer.unless_past_the_end():
                found = self._client().get_object(Bucket=self._bucket, Key=name, **byte_range, **version)
            if not found:
                check_range(name, self._size(name), offset, length)
                return b""
            with found["Body"] as stream:
                if length is None:
                    check_size(name, found.get("ContentLength", 0))
                content = self._read(stream)
            if whole:  # sent in chunks it has no length; where it ends is told, and its checksum is kept beside it
                total = found.get("ContentLength", len(content))
            else:
                total = check_span(found.get("ContentRange"), first, len(content))
        expected = check_range(name, total, offset, length)
        is_right = not whole or is_whole(content, kept_with(found.get("Metadata", {}), CHECKSUM))
        check_arrived(name, self._where, len(content), expected, is_right=is_right)
        return content

    def pour(self, name: str, into: BinaryIO) -> None:
        check_name(name)
        with self._explained("read", name):
            version: Any = self._past.named(name) if self._past else {}
            found = self._client().get_object(Bucket=self._bucket, Key=name, **version)
            with found["Body"] as stream:
                check_size(name, found.get("ContentLength", 0))
                pace = self._pace()
                size, checksum = poured(pace.pieces(pace.received(stream.read)), into)
        is_right = kept_with(found.get("Metadata", {}), CHECKSUM) in (None, checksum)
        check_arrived(name, self._where, size, found.get("ContentLength", size), is_right=is_right)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return listed(self._settings, partial(self.page, check_prefix(prefix)))

    def page(self, prefix: str, after: str | None = None) -> Page:
        if self._past:
            return self._past.list(prefix), None
        following: Any = {"ContinuationToken": after} if after else {}
        with self._explained("list", prefix):
            found = self._client().list_objects_v2(Bucket=self._bucket, Prefix=prefix, **following)
            page = [Listed(each["Key"], each["Size"]) for each in found.get("Contents", ())]
        if not found["IsTruncated"]:
            return page, None
        token = found.get("NextContinuationToken")
        if token in (None, after):
            raise Refused(
                f"{self._where} says that more follows, and not how to go on: it does not know `ListObjectsV2`, so no"
                " listing of it would be whole"
            )
        return page, token

    def delete(self, name: str) -> None:
        check_name(name)
        if self._past:
            raise self._past.refused("delete", name)
        if self.term:
            self._lock.delete(self._client(), name)
            return
        self._size(name)
        with self._explained("delete", name):
            self._client().delete_object(Bucket=self._bucket, Key=name)

    @property
    def term(self) -> timedelta | None:
        return self._lock.terms.term

    def lock(self, name: str, until: datetime) -> None:
        if self._past:
            raise self._past.refused("lock", name)
        self._lock.lock(self._client(), check_name(name), until)

    def locked_until(self, name: str) -> datetime | None:
        return self._lock.locked_until(self._client(), check_name(name))

    def _store(self, name: str, body: Body) -> None:
        extra: Any = {"StorageClass": self._settings.storage_class} if self._settings.storage_class else {}
        if self._by_md5:
            extra["ContentMD5"] = base64.b64encode(body.md5).decode()
        else:
            # What knows it keeps it; what locks objects wants this or an MD5.
            extra["ChecksumCRC32C"] = body.crc32c
        locking = self._lock.headers(name)
        with self._lock.told(), self._explained("store and lock" if locking else "store", name):
            stored = self._client().put_object(
                Bucket=self._bucket,
                Key=name,
                Body=cast(IO[bytes], body),
                ContentLength=len(body),
                ContentType="application/octet-stream",
                IfNoneMatch="*",
                Metadata={CHECKSUM: body.crc32c},
                **extra,
                **locking,
            )
            if not is_marked(stored):  # some services number no answer; what they have of it tells as well
                there = self._client().head_object(Bucket=self._bucket, Key=name)
                if kept_with(there["Metadata"], CHECKSUM) != body.crc32c:
                    raise Foreign("something on the way answered for it, or something else was stored")
        if self._tags_are_md5 and not _is_encrypted(stored) and stored.get("ETag", "").strip('"') != body.md5.hex():
            self._look_again(name, body)

    def _size(self, name: str) -> int:
        """Of an object that is there. By its first byte: the answer to HEAD can't tell a missing bucket from a missing
        object."""
        with self._explained("read", name) as answer:
            found: Any = {}
            with answer.unless_past_the_end():
                version: Any = self._past.named(name) if self._past else {}
                found = self._client().get_object(Bucket=self._bucket, Key=name, Range="bytes=0-0", **version)
            if not found:
                return 0
            with found["Body"] as stream:
                first = self._read(stream)
            told = found.get("ContentRange")
            size: int = check_span(told, 0, len(first)) if told else found["ContentLength"]
            return size

    def _read(self, stream: Any) -> bytes:
        pace = self._pace()
        return pace.read_all(pace.received(stream.read))

    def _look_again(self, name: str, body: Body) -> None:
        """What was stored has another MD5 than what was sent. Either this service gives another kind of tag, or its
        copy is wrong, which it did not check: then it goes, for nobody else can have stored it."""
        with suppress(Damaged):
            if body.is_same(self.get(name)):
                self._tags_are_md5 = False
                return
        try:
            self.delete(name)
        except BackupError as error:
            raise Damaged(
                f"`{name}` arrived damaged at {self._where}, which does not check what it is sent, and can't be deleted"
                " with this key: delete it by hand"
            ) from error
        raise Unavailable(f"`{name}` arrived damaged at {self._where}; it was removed, and is sent again")

    def _explained(self, verb: str, name: str) -> Any:
        return explained(verb, name, self._where)

    def _connect(self) -> S3Client:
        import boto3
        import botocore.config
        import botocore.session

        settings = self._settings
        check_authorities(settings.ca_file)
        config: Any = botocore.config.Config  # its stubs do not know all of its options
        with self._explained("open", ""):
            core = botocore.session.get_session()
            core.register_component("data_loader", LOADER())
            session = boto3.session.Session(
                botocore_session=core,
                aws_access_key_id=settings.access_key.read() if settings.access_key else None,
                aws_secret_access_key=settings.secret_key.read() if settings.secret_key else None,
                aws_session_token=settings.session_token.read() if settings.session_token else None,
                region_name=settings.region,
            )
            client = session.client(
                "s3",
                endpoint_url=settings.endpoint,
                region_name=settings.region or session.region_name or "us-east-1",
                verify=str(settings.ca_file) if settings.ca_file else None,
                config=config(
                    connect_timeout=settings.connect_timeout.total_seconds(),
                    read_timeout=settings.read_timeout.total_seconds(),
                    max_pool_connections=settings.connections,
                    # One place tries again, for all destinations: retrying.py.
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    signature_version=settings.signature,
                    s3={
                        "addressing_style": "path" if settings.path_style else "auto",
                        # Also where TLS would do: what is in memory may be damaged before that.
                        "payload_signing_enabled": True,
                    },
                    # None of the trailers that checksums come in by themselves: other services refuse them.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    ignore_configured_endpoint_urls=not settings.default_credentials,
                    tcp_keepalive=True,
                ),
            )
        client.meta.events.register("before-sign.s3", self._add_headers)
        client.meta.events.register("before-send.s3", self._slow_down)
        client.meta.events.register("after-call.s3", only_of_s3)
        return client

    def _add_headers(self, request: Any, **_: Any) -> None:
        for header in self._settings.headers:
            name, _colon, value = header.partition(":")
            del request.headers[name.strip()]
            request.headers[name.strip()] = value.strip()

    def _slow_down(self, request: Any, **_: Any) -> None:
        if isinstance(request.body, Body):
            request.body = Handed(request.body.pieces, self._pace())


def _is_encrypted(stored: Any) -> bool:
    """With keys of the service's or the customer's own the tag is no MD5."""
    return "SSECustomerAlgorithm" in stored or stored.get("ServerSideEncryption", "AES256") != "AES256"

"""A connection that breaks in the middle of a pack: what is sent again, and that nothing of the first half is seen."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.azure import Azure
from tasks.destinations.gcs import Gcs
from tasks.destinations.remote import RemoteSettings
from tasks.destinations.retrying import Retrying
from tasks.destinations.s3 import S3
from tasks.errors import Exists, Unavailable
from tests.stores import faulty_proxy as faulty_proxy_module
from tests.stores.azure import ACCOUNT, AzureServer
from tests.stores.faulty_proxy import FaultyProxy, faulty_proxy
from tests.stores.gcs import GcsServer
from tests.stores.gcs_server import STEP
from tests.stores.s3 import S3Server

MIB = 1 << 20
PACK = 12 * MIB + 5
OVERHEAD = 10_000
"""Bytes of what is asked beside the pack."""


class Reached(NamedTuple):
    proxy: FaultyProxy
    once: Destination
    """By way of the proxy, trying nothing twice."""
    faulty: Destination
    """The same, trying again."""
    hasty: Destination
    """As `once`, and waits for no answer longer than half a second."""
    slow: Destination
    """As `faulty`, over a line on which a pack takes longer than the deadline."""
    direct: Destination


class BrokenUploadContract:
    resumes = False
    """Whether what had come of a pack when the connection broke need not be sent again."""

    @pytest.fixture
    def reached(self) -> Iterator[Reached]:
        raise NotImplementedError

    @pytest.fixture
    def pack(self, tmp_path: Path) -> Path:
        file = tmp_path / "pack"
        file.write_bytes(random.Random(1).randbytes(PACK))
        return file

    @pytest.mark.parametrize("fault", ["reset in the request", "reply lost", "503"])
    def test_a_pack_arrives_whole_and_no_more_is_sent_again_than_must_be(
        self, reached: Reached, pack: Path, fault: str
    ) -> None:
        reached.proxy.coming = [(fault, 0.6)]
        reached.faulty.put("packs/one", pack)
        assert reached.proxy.happened == [fault]
        assert reached.direct.get("packs/one") == pack.read_bytes()
        again = reached.proxy.received - PACK
        if fault == "reply lost":
            whole = 0 if self.resumes else PACK
        elif fault == "503":
            whole = PACK
        else:
            whole = STEP if self.resumes else int(0.6 * PACK)
        assert again <= whole + OVERHEAD

    def test_a_pack_that_breaks_off_again_and_again_still_gets_there(self, reached: Reached, pack: Path) -> None:
        reached.proxy.coming = [("reset in the request", 0.5)] * 4
        reached.faulty.put("packs/one", pack)
        assert reached.direct.get("packs/one") == pack.read_bytes()
        assert reached.proxy.received <= (PACK + 4 * STEP if self.resumes else 3 * PACK) + OVERHEAD

    def test_a_pack_that_takes_longer_than_the_deadline_is_sent_once_more(self, reached: Reached, pack: Path) -> None:
        """What the deadline bounds is how long nothing works, not how slow the line may be."""
        reached.proxy.coming = [("reset in the request", 0.9)]
        reached.slow.put("packs/one", pack)
        assert reached.proxy.happened == ["reset in the request"]
        assert reached.direct.get("packs/one") == pack.read_bytes()

    def test_a_server_that_does_not_answer_is_given_up_in_time(self, reached: Reached, pack: Path) -> None:
        reached.proxy.stall_seconds = 60
        reached.proxy.coming = [("stall", 0)]
        began = time.monotonic()
        with pytest.raises(Unavailable):
            reached.hasty.put("packs/one", pack)
        assert time.monotonic() - began < 30

    def test_a_flipped_byte_is_noticed_and_all_of_it_sent_anew(self, reached: Reached, pack: Path) -> None:
        reached.proxy.coming = [("request flipped", 0.3)]
        reached.faulty.put("packs/one", pack)
        assert reached.direct.get("packs/one") == pack.read_bytes()
        assert reached.proxy.received <= 2 * PACK + OVERHEAD

    def test_what_broke_off_is_not_there_and_is_another_writers_to_store(self, reached: Reached, pack: Path) -> None:
        reached.proxy.coming = [("reset in the request", 0.9)]
        with pytest.raises(Unavailable):
            reached.once.put("packs/one", pack)
        assert list(reached.direct.list()) == []
        reached.direct.put("packs/one", b"of another")
        with pytest.raises(Exists):
            reached.once.put("packs/one", pack)
        assert reached.direct.get("packs/one") == b"of another"
        reached.once.put("packs/two", pack)
        assert [each.size for each in reached.direct.list()] == [10, PACK]


def _reached(kind: type, through: RemoteSettings, direct: RemoteSettings, proxy: FaultyProxy) -> Reached:
    hasty = kind(through.model_copy(update={"read_timeout": timedelta(seconds=0.5)}))
    again = Retrying(kind(through), through, first_pause=0.01)
    limits = {"bytes_a_second": 4 * PACK, "deadline": timedelta(milliseconds=100)}
    slowly = through.model_copy(update=limits)
    slow = Retrying(kind(slowly), slowly, first_pause=0.01)
    return Reached(proxy, kind(through), again, hasty, slow, open_destination(direct))


class TestS3(BrokenUploadContract):
    @pytest.fixture
    def reached(self, s3: S3Server) -> Iterator[Reached]:
        settings = s3.settings(s3.bucket())
        with faulty_proxy(s3.url) as (proxy, url):
            yield _reached(S3, settings.model_copy(update={"endpoint": url}), settings, proxy)


class TestAzure(BrokenUploadContract):
    @pytest.fixture
    def reached(self, azure: AzureServer) -> Iterator[Reached]:
        settings = azure.settings(azure.container())
        with faulty_proxy(azure.url) as (proxy, url):
            yield _reached(Azure, settings.model_copy(update={"url": f"{url}/{ACCOUNT}"}), settings, proxy)


class TestGcs(BrokenUploadContract):
    resumes = True

    @pytest.fixture
    def reached(self, gcs: GcsServer) -> Iterator[Reached]:
        settings = gcs.settings(gcs.bucket())
        with faulty_proxy(gcs.url) as (proxy, url):
            yield _reached(Gcs, settings.model_copy(update={"endpoint": url}), settings, proxy)

    @pytest.mark.parametrize("size", [100, PACK], ids=["at once", "in a session"])
    def test_a_name_that_is_damaged_on_its_way_is_not_taken_for_stored(
        self, reached: Reached, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        """At Google it is a part of what is sent, beside the bytes that have a checksum."""
        content = random.Random(2).randbytes(size)
        hit: list[bytes] = []

        def flipped(body: bytes, _: float) -> bytes:
            if b"packs/one" in body and not hit:
                hit.append(body)
                return body.replace(b"packs/one", b"packs/onf", 1)
            return body

        monkeypatch.setattr(faulty_proxy_module, "FAULTS", ["request flipped"])
        monkeypatch.setattr(faulty_proxy_module, "_flipped", flipped)
        reached.proxy.schedule(0, 1.0, patience=1000)
        reached.faulty.put("packs/one", content)
        assert hit
        assert reached.direct.get("packs/one") == content

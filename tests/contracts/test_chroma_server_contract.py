"""The contract of sources, on a Chroma server that is asked over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.errors import BackupError, Unavailable
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Source
from tests.chroma_process import ChromaServer, chroma, chroma_server
from tests.contracts.source_contract import SourceContract


def source_of(url: str, scratch: Path) -> Chroma:
    return Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "url": url, "scratch": scratch}))


@pytest.fixture(scope="module")
def server(filled_chroma: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """One for all tests: a changed record is no matter to the next."""
    folder = Path(shutil.copytree(filled_chroma, tmp_path_factory.mktemp("server") / "store"))
    with chroma_server(folder) as server:
        yield server


class TestServer(SourceContract):
    @pytest.fixture
    def source(self, server: ChromaServer, tmp_path: Path) -> Source:
        return source_of(server.url, tmp_path / "scratch")

    @pytest.fixture
    def change(self, server: ChromaServer) -> Callable[[], None]:
        def touch() -> None:
            chroma("touch", server.url)

        return touch

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def flip(copy: Path) -> None:
            """One bit of one vector."""
            victim = next(copy.glob("collections/*/*/apples/vectors.f32"))
            content = bytearray(victim.read_bytes())
            content[-10] ^= 1
            victim.write_bytes(content)

        return flip

    @pytest.fixture
    def absent(self, tmp_path: Path) -> Source:
        return source_of("http://127.0.0.1:9", tmp_path / "scratch")

    def test_capturing_what_is_not_there_is_an_error(self, absent: Source) -> None:
        """One that may pass: a server may be back in a minute."""
        with pytest.raises(Unavailable) as raised:
            list(absent.capture())
        assert isinstance(raised.value, BackupError)
        assert "\n" not in str(raised.value)

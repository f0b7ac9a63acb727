"""Signed messages: a night over them, an application that signs as BROKER.md says; what is not signed is not done."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.errors import SettingsError
from tasks.settings import Settings, SigningSettings
from tests.flows.house import House
from tests.flows.terminal import Terminal
from tests.flows.test_broker import certificate
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.flows.test_requests import EXAMPLE, Application
from workers.signing import set_up

TEXT = (Path(__file__).parents[2] / "workers/BROKER.md").read_text(encoding="utf-8")
(SIGNED,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(TABLE,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [block for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) if "openssl" in block]
MADE = "set_as_current=False)\n"
"""The end of the line that makes the application's app."""


def sign(house: House) -> Path:
    """As the document says, by its own commands; the folder of known certificates."""
    known = house.folder / "signing/known"
    known.mkdir(parents=True)
    subprocess.run(["sh", "-euc", COMMANDS[0]], cwd=house.folder, check=True, capture_output=True)
    house.file.write_text(house.file.read_text() + TABLE)
    return known


@pytest.mark.needs("openssl")
def test_a_night_is_signed_and_what_nobody_known_has_signed_is_not_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)}, {"nightly": {}})
    known = sign(house)
    mine, others = (
        Application(house.folder / "mine", house.broker.url),
        Application(house.folder / "x", house.broker.url),
    )
    for application in (mine, others):
        public, private = certificate(application.folder, "app")
        assert private.name == "app.key"
        shutil.copytree(known, application.folder / "known")
        shutil.copy(public, application.folder / "known")
    shutil.copy(mine.folder / "app.pem", known / "mine.pem")
    worker = house.worker()
    signing = EXAMPLE.replace(MADE, MADE + SIGNED)
    assert mine.run(signing).splitlines()[-1].startswith("done")
    assert [run.id for run in house.record.runs()] == ["before-release-42"]
    # Signed by somebody unknown, and not signed at all.
    for asked in (signing, EXAMPLE):
        short = asked.replace("timeout=60", "timeout=3").replace("before-release-42", "not-ours")
        with pytest.raises(AssertionError, match="TimeoutError"):
            others.run(short)
    assert [run.id for run in house.record.runs()] == ["before-release-42"]
    (house.folder / "keys/writer.key").chmod(0o600)
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)
    found = {each["what"]: each["state"] for each in Terminal(house.folder).json("check")}
    assert found["workers"] == "good"
    assert found["signing"] == "weak", "the application's certificate expires tomorrow"
    said = worker.log.read_text()
    assert "Unknown certificate" in said
    assert "ContentDisallowed" in said or "Refusing to deserialize" in said
    assert_restores(house, originals_of(house, "docs"))


def signed(folder: Path) -> SigningSettings:
    known = folder / "known"
    known.mkdir(exist_ok=True)
    public, private = certificate(folder, "host")
    shutil.copy(public, known)
    return SigningSettings(key=private, certificate=public, certificates=known)


def test_what_can_t_sign_is_refused_with_what_to_do(tmp_path: Path) -> None:
    right = signed(tmp_path)

    def refused(**change: Path) -> str:
        with pytest.raises(SettingsError) as error:
            set_up(Settings(destinations={}, sources={}, signing=right.model_copy(update=change)))
        return str(error.value)

    assert "can't be read; see `[signing]`" in refused(key=tmp_path / "none")
    assert "can't sign: an RSA key" in refused(key=right.certificate)
    assert "can't sign: an RSA key" in refused(certificate=right.key)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/text.pem").write_text("no certificate")
    assert "text.pem` holds no certificate in PEM" in refused(certificates=tmp_path / "odd")
    (tmp_path / "empty").mkdir()
    assert "is not among the certificates that are known" in refused(certificates=tmp_path / "empty")

"""Which files count as configuration, and which as secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.sources.config import Config, ConfigSettings
from tests.contracts.memory_items import Saved

CONFIGURATION = ["app.toml", "a/b.yaml", "c.yml", "d.json", "e.ini", "f.cfg", "g.conf", ".env", ".env.local", "h.xml"]
SECRETS = [
    ".env",
    "API_TOKEN.txt",
    "Secrets/a.toml",
    ".env.local",
    "tls.key",
    "id_rsa",
    "secret.yaml",
    "db-credentials.json",
    "cert.pem",
    ".ssh/config",
]


def source(folder: Path, **options: object) -> Config:
    return Config("config", ConfigSettings.model_validate({"kind": "config", "paths": [folder], **options}))


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def files(source: Config) -> set[str]:
    prefix = len("config/")
    return {item.entry.path.decode()[prefix:] for item in source.capture() if item.open}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    return folder


def test_everything_is_taken_unless_patterns_pick(folder: Path) -> None:
    fill(folder, [*CONFIGURATION, "mime.types", "current"])
    assert files(source(folder)) == {*CONFIGURATION, "mime.types", "current"}
    assert files(source(folder, include=["*.toml", "*.yaml"])) == {"app.toml", "a/b.yaml"}
    assert source(folder).check() == []


def test_secrets_are_taken_unless_told_otherwise(folder: Path) -> None:
    fill(folder, [*SECRETS, "app.toml"])
    assert files(source(folder, include=[])) == {*SECRETS, "app.toml"}
    assert "secrets_left_out" not in Saved(source(folder).capture()).facts


def test_secrets_are_left_out_on_request_and_named_in_the_facts(folder: Path) -> None:
    fill(folder, [*SECRETS, "app.toml", ".env.example", "id_rsa.pub"])
    chosen = source(folder, include=[], leave_out_secrets=True)
    assert files(chosen) == {"app.toml", ".env.example", "id_rsa.pub"}
    assert Saved(chosen.capture()).facts["secrets_left_out"] == {
        "count": 10,
        "names": sorted(f"config/{name.removesuffix('config').removesuffix('a.toml')}" for name in SECRETS),
    }


def test_patterns_of_secrets_can_be_added_and_taken_back(folder: Path) -> None:
    fill(folder, ["cert.pem", "api.txt", "app.toml"])
    chosen = source(folder, include=[], leave_out_secrets=True, secret_patterns=["API.*", "!cert.pem"])
    assert files(chosen) == {"cert.pem", "app.toml"}


def test_a_secret_that_is_itself_a_path_is_left_out_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=x")
    assert list(source(tmp_path / ".env", leave_out_secrets=True).capture()) == []
    assert len(list(source(tmp_path / ".env").capture())) == 1


def test_a_thousand_secrets_are_counted_and_the_first_hundred_named(folder: Path) -> None:
    fill(folder, [f"{number:04}.key" for number in range(1000)])
    left_out = Saved(source(folder, leave_out_secrets=True).capture()).facts["secrets_left_out"]
    assert (left_out["count"], len(left_out["names"])) == (1000, 100)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("include", ["!"]),
        ("exclude", ["\\"]),
        ("paths", []),
        ("paths", [{"path": "/a", "name": "a/b"}]),
        ("nonsense", 1),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Path, option: str, value: object) -> None:
    with pytest.raises(ValidationError):
        source(folder, **{option: value})

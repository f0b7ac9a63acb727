"""The models that all kinds share."""

from __future__ import annotations

import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.errors import SettingsError
from tasks.model import Model, texts
from tasks.secret import Address, Secret, SecretReference, url_of
from tasks.settings import DestinationSettings, Keep, PlanSettings, Settings, SourceSettings
from tasks.values import Duration, in_short

HIDDEN = "hunter2-correct-horse"


class WithPassword(SourceSettings):
    password: SecretReference


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("3d", timedelta(days=3)),
        (" 2 w ", timedelta(weeks=2)),
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(written: object, meant: timedelta) -> None:
    assert TypeAdapter(Duration).validate_python(written) == meant


@pytest.mark.parametrize("written", [3, 3.0, True, "3", "d", "-3d", "1.5h", "3 days", "P3D", "", "999999w", "٣d", None])
def test_anything_else_is_no_duration(written: object) -> None:
    """Above all a bare number: `grace = 3` must not mean three seconds."""
    with pytest.raises(ValidationError, match="use a number and a unit"):
        TypeAdapter(Duration).validate_python(written)


@pytest.mark.parametrize("short", ["1s", "90s", "5m", "36h", "3d", "2w", "0s"])
def test_a_duration_reads_as_it_was_written(short: str) -> None:
    assert in_short(TypeAdapter(Duration).validate_python(short)) == short


@pytest.mark.parametrize(
    "given", [HIDDEN, f"plain:{HIDDEN}", f"env:{HIDDEN}", {"reference": HIDDEN}, [HIDDEN], "env:", "file:", 42]
)
def test_a_secret_that_is_written_out_is_refused_and_never_repeated(given: object) -> None:
    with pytest.raises(ValidationError) as refused:
        WithPassword.model_validate({"kind": "x", "password": given})
    assert "a secret is never written here" in str(refused.value)
    assert HIDDEN not in str(refused.value)
    assert HIDDEN not in repr(refused.value)


def test_a_secret_that_a_person_types_out_is_refused_as_a_settings_error() -> None:
    assert Secret.at("env:A").reference == "env:A"
    with pytest.raises(SettingsError, match="use `env:NAME`") as refused:
        Secret.at(HIDDEN)
    assert HIDDEN not in str(refused.value)
    assert HIDDEN not in str(refused.value.__cause__)


def test_a_secret_shows_as_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", HIDDEN)
    settings = WithPassword(kind="x", password=Secret(reference="env:THE_SECRET"))
    assert settings.password.read() == HIDDEN
    for text in (repr(settings), str(settings.password), settings.model_dump_json(), str(pickle.dumps(settings))):
        assert HIDDEN not in text
        assert "env:THE_SECRET" in text


def test_a_secret_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{HIDDEN} \r\n")
    assert Secret(reference=f"file:{tmp_path}/secret").read() == f"{HIDDEN} "


def test_a_secret_is_what_a_person_types_wherever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable made of a file, as of a mounted secret, has its line end; an editor begins a file with a mark."""
    monkeypatch.setenv("THE_SECRET", f"{HIDDEN}\n")
    (tmp_path / "secret").write_text(f"\ufeff{HIDDEN}\r\n")
    for reference in ("env:THE_SECRET", f"file:{tmp_path}/secret"):
        assert Secret(reference=reference).read() == HIDDEN


def test_a_secret_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for reference, says in (
        ("env:NOT_SET", "`NOT_SET` is not set"),
        ("env:EMPTY", "`EMPTY` is not set"),
        (f"file:{tmp_path}/none", "can't be read: No such file"),
        (f"file:{tmp_path}", "can't be read: Is a directory"),
        (f"file:{tmp_path}/empty", "is empty"),
        (f"file:{tmp_path}/binary", "is not text"),
        ("file:~nobody-of-this-name/secret", "can't be read"),
    ):
        with pytest.raises(SettingsError, match=says) as refused:
            Secret(reference=reference).read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Berlin", "did you mean `Europe/Berlin`"),
        ("europe/berlin", "did you mean `Europe/Berlin`"),
        ("Europe/Berln", "did you mean `Europe/Berlin`"),
        ("New York", "did you mean `America/New_York`"),
        ("CEST", "use a name such as"),
        ("", "use a name such as"),
        ("../../etc/passwd", "use a name such as"),
        ("Europe", "use a name such as"),
        ("Europe/\0", "no time zone"),
    ],
)
def test_a_wrong_time_zone_is_answered_with_the_one_that_was_meant(zone: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PlanSettings(timezone=zone)


@pytest.mark.parametrize("name", ["", "Models", "a b", "-a", "a/b", "..", "ä", "a" * 65, "a\n"])
def test_a_name_is_fit_for_a_file_an_object_and_a_queue(name: str) -> None:
    for noun in ("sources", "destinations", "plans"):
        values: dict[str, Any] = {
            "sources": {},
            "destinations": {},
            noun: {name: {"kind": "x"} if noun != "plans" else {}},
        }
        with pytest.raises(ValidationError, match="pattern"):
            Settings.model_validate(values)


@pytest.mark.parametrize("options", [{"last": 0}, {"daily": -1}, {"daily": True}, {"daily": "3"}, {"dialy": 3}])
def test_retention_takes_nothing_half_understood(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Keep.model_validate(options)


def test_a_grace_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"grace": "0s", "sources": {}, "destinations": {}})


def sample() -> Settings:
    return Settings(
        timezone="Europe/Berlin",
        destinations={"near": DestinationSettings(kind="x"), "far": DestinationSettings(kind="y")},
        sources={
            "a": WithPassword(kind="z", password=Secret(reference="env:A")),
            "b": SourceSettings(kind="z", destinations=("far", "near")),
            "c": SourceSettings(kind="z", destinations=("far",)),
        },
        plans={"all": PlanSettings(), "some": PlanSettings(sources=("b",), timezone="Asia/Tokyo")},
    )


def test_settings_survive_a_process_boundary_whole() -> None:
    """Workers may be started by spawn; the kinds' own options must arrive as well."""
    copy = pickle.loads(pickle.dumps(sample()))  # noqa: S301 - its own bytes
    assert copy == sample()
    assert isinstance(copy.sources["a"], WithPassword)
    assert copy.sources["a"].password.reference == "env:A"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(sample(), "grace", timedelta(0))  # noqa: B010 - a type checker knows that it is frozen
    with pytest.raises(ValidationError, match="frozen"):
        setattr(sample().sources["a"], "kind", "other")  # noqa: B010 - as above


def test_an_empty_list_means_all_and_the_order_is_the_files() -> None:
    settings = sample()
    assert settings.destinations_of("a") == ("near", "far")
    assert settings.destinations_of("b") == ("near", "far")
    assert settings.destinations_of("c") == ("far",)
    assert settings.sources_of("all") == ("a", "b", "c")
    assert settings.sources_of("some") == ("b",)
    assert str(settings.zone_of("all")) == "Europe/Berlin"
    assert str(settings.zone_of("some")) == "Asia/Tokyo"


def test_every_option_says_what_it_is_for() -> None:
    """The README, the file that `init` writes and the editor's schema are made of these texts."""
    for model in (Settings, SourceSettings, DestinationSettings, PlanSettings, Keep):
        assert texts(model).keys() == model.model_fields.keys()
        assert all(texts(model).values())


class Server(Model):
    url: Address


def test_an_address_is_a_url_or_a_reference_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_URL", "redis://:hunter2@db:6379/0")
    assert url_of(Server.model_validate({"url": "redis://db:6379"}).url) == "redis://db:6379"
    held = Server.model_validate({"url": "env:THE_URL"})
    assert url_of(held.url) == "redis://:hunter2@db:6379/0"
    assert "hunter2" not in repr(held)


@pytest.mark.parametrize("url", ["redis://:hunter2@db:6379", "db:6379", "", 7, "redis://[db"])
def test_an_address_holds_no_password_and_is_a_url(url: object) -> None:
    with pytest.raises(ValidationError) as raised:
        Server.model_validate({"url": url})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("text", "count"), [("500MB", 500_000_000), (" 8 GB ", 8_000_000_000), ("1TB", 10**12)])
def test_a_size_is_a_number_and_a_unit_and_is_shown_so(text: str, count: int) -> None:
    settings = Settings(destinations={}, sources={}, spool_quota=text)  # type: ignore[arg-type]  # as TOML has it
    assert settings.spool_quota == count
    assert str(settings.spool_quota) == text.replace(" ", "")
    assert f'"spool_quota":"{text.replace(" ", "")}"' in settings.model_dump_json()


@pytest.mark.parametrize(("text", "why"), [("8", "such as `8GB`"), (8, "such as `8GB`"), ("9MB", "at least `200MB`")])
def test_a_size_that_is_none_or_is_too_small_is_refused(text: object, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(destinations={}, sources={}, spool_quota=text)  # type: ignore[arg-type]

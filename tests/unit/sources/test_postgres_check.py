"""What would fail tonight is said before: in one line each, with what to do, and without a secret."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.errors import BackupError, Refused, SettingsError, SourceError, Unavailable
from tasks.sources.postgres import Postgres, PostgresSettings, PostgresTarget
from tasks.sources.source import Problem
from tests.contracts.memory_items import Saved
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    everything,
    postgres,
    postgres_programs,
    shared_postgres,
    source_of,
)
from tests.postgres_process import PASSWORD, PostgresProcess


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TESTED_PASSWORD", PASSWORD)
    return "env:TESTED_PASSWORD"


def made(url: str, **options: object) -> Postgres:
    return Postgres("pg", PostgresSettings.model_validate({"kind": "postgres", "url": url, **options}))


def the_problem(source: Postgres) -> Problem:
    """The one fatal problem; a capture fails for it too, and neither text has a line break or a secret."""
    (problem,) = [each for each in source.check() if each.fatal]
    assert "\n" not in problem.what + problem.advice
    assert PASSWORD not in problem.what + problem.advice
    assert problem.advice
    with pytest.raises(BackupError) as raised:
        Saved(source.capture())
    assert "\n" not in str(raised.value)
    assert PASSWORD not in str(raised.value)
    return problem


def test_a_good_server_has_no_problems(postgres: PostgresProcess, password: str) -> None:  # noqa: F811
    assert made(postgres.tcp_url(), password=password, databases=["postgres"]).check() == []


def test_a_password_may_come_from_a_file_or_within_a_url(
    postgres: PostgresProcess,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    assert made(postgres.tcp_url(), password=f"file:{tmp_path / 'secret'}", databases=["postgres"]).check() == []
    coded = "".join(f"%{byte:02X}" for byte in PASSWORD.encode())
    monkeypatch.setenv("TESTED_URL", postgres.tcp_url().replace("postgres@", f"postgres:{coded}@"))
    source = made("env:TESTED_URL", databases=["postgres"])
    assert source.check() == []
    assert Saved(source.capture()).flaws == []


def test_a_server_that_is_not_there(postgres: PostgresProcess) -> None:  # noqa: F811
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        source = made(f"postgresql://postgres@127.0.0.1:{free.getsockname()[1]}/postgres")
        problem = the_problem(source)
        assert "Connection refused" in problem.what
        assert problem.advice.startswith("is the server up")
        with pytest.raises(Unavailable):
            source.capture()


def test_a_host_that_has_no_address() -> None:
    problem = the_problem(made("postgresql://postgres@nowhere.invalid/postgres"))
    assert "failed to resolve host 'nowhere.invalid'" in problem.what
    assert problem.advice.startswith("is the server up")


def test_a_wrong_password(postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("TESTED_PASSWORD", "wrong " + PASSWORD)
    source = made(postgres.tcp_url(), password="env:TESTED_PASSWORD")
    problem = the_problem(source)
    assert "password authentication failed" in problem.what
    assert problem.advice.startswith("is the password right")
    with pytest.raises(Refused):
        source.capture()


def test_no_password_where_one_is_needed(postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("HOME", "/nonexistent")
    problem = the_problem(made(postgres.tcp_url()))
    assert "no password supplied" in problem.what
    assert problem.advice == "set `password` to `env:NAME` or `file:PATH`"


def test_a_password_that_is_referred_to_and_is_not_there(postgres: PostgresProcess) -> None:  # noqa: F811
    problem = the_problem(made(postgres.tcp_url(), password="env:NOT_SET_ANYWHERE"))
    assert "`NOT_SET_ANYWHERE` is not set" in problem.what


def test_a_database_or_a_role_that_is_not_there(postgres: PostgresProcess) -> None:  # noqa: F811
    problem = the_problem(made(postgres.url(), databases=["shop"]))
    assert "has no database `shop`: mend `databases`; there is" in f"{problem.what}; {problem.advice}"
    assert 'database "gone" does not exist' in the_problem(made(postgres.url("gone"))).what
    assert 'role "nobody at all" does not exist' in the_problem(made(postgres.url(user="nobody at all"))).what


def test_no_programs_that_suit_the_server_names_the_package(postgres: PostgresProcess, tmp_path: Path) -> None:  # noqa: F811
    (major,) = postgres.rows("SELECT current_setting('server_version_num')::int / 10000")[0]
    problem = the_problem(made(postgres.url(), programs=tmp_path))
    assert f"install the package `postgresql-client-{major}`" in f"{problem.what}; {problem.advice}"
    for name in ("pg_dump", "pg_dumpall", "pg_restore", "psql"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 9.6.1'\n")
        (tmp_path / name).chmod(0o755)
    problem = the_problem(made(postgres.url(), programs=tmp_path / "."))
    assert "there is none in" in problem.what  # what was found out about a folder is kept


@pytest.fixture
def reader(postgres: PostgresProcess) -> Iterator[str]:  # noqa: F811
    postgres.run("CREATE ROLE reader LOGIN")
    yield "reader"
    for (name,) in postgres.rows("SELECT datname FROM pg_database WHERE datname = 'shop'"):
        postgres.drop(name)
    postgres.run("DROP ROLE reader")


def test_rights_that_are_missing_are_named_with_the_statement_that_gives_them(
    postgres: PostgresProcess,  # noqa: F811
    reader: str,
) -> None:
    postgres.create("shop")
    postgres.run(
        "CREATE TABLE orders (id integer PRIMARY KEY)",
        "CREATE TABLE tenants (id integer PRIMARY KEY)",
        "ALTER TABLE tenants ENABLE ROW LEVEL SECURITY",
        "SELECT lo_create(4711)",
        database="shop",
    )
    source = made(postgres.url(user=reader), databases=["shop"])

    def problems() -> list[str]:
        with pytest.raises(Refused):
            Saved(source.capture())
        return [f"{problem.what} - {problem.advice}" for problem in source.check() if problem.fatal]

    denied, hidden, objects = problems()
    assert denied.startswith("database `shop`: reader may not read `public.orders`, `public.tenants`")
    assert hidden.startswith("database `shop`: row security hides rows of `public.tenants` from reader")
    assert objects.startswith("database `shop`: 1 large objects can't be read by reader")
    postgres.run(denied.partition("superuser: ")[2])
    assert len(problems()) == 2
    postgres.run(hidden.partition("superuser: ")[2])
    assert len(problems()) == 1
    postgres.run("ALTER LARGE OBJECT 4711 OWNER TO reader", database="shop")
    assert source.check() == []
    assert Saved(source.capture()).facts["large_objects"]["shop"]["count"] == 1


def test_what_only_a_superuser_keeps_is_told(postgres: PostgresProcess, reader: str) -> None:  # noqa: F811
    postgres.create("shop")
    postgres.run(
        "CREATE SUBSCRIPTION news CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false)",
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw",
        "CREATE USER MAPPING FOR postgres SERVER far OPTIONS (password 'x')",
        "GRANT pg_read_all_data TO reader",
        database="shop",
    )
    try:
        said = [each.what for each in made(postgres.url(user=reader), databases=["shop"], roles=False).check()]
        kept = "database `shop`: subscriptions (1) and the options of user mappings (1) are not kept"
        assert said == [f"{kept}, as reader is no superuser"]
        saved = Saved(source_of(postgres, "shop").capture())
        assert saved.facts["objects"]["shop"]["subscriptions"] == 1
        assert source_of(postgres, "shop").check() == []
    finally:
        postgres.run("ALTER SUBSCRIPTION news SET (slot_name = NONE)", "DROP SUBSCRIPTION news", database="shop")


def test_roles_are_kept_without_passwords_where_these_are_hidden(postgres: PostgresProcess, reader: str) -> None:  # noqa: F811
    source = made(postgres.url(user=reader), databases=["postgres"])
    (problem,) = source.check()
    assert problem.what == "`reader` may not read the passwords of roles: roles are kept without them"
    assert not problem.fatal
    saved = Saved(source.capture())
    assert saved.facts["role_passwords"] is False
    assert b"CREATE ROLE reader;" in saved[b"cluster/roles.sql"].content
    assert b"PASSWORD" not in saved[b"cluster/roles.sql"].content


def test_how_much_room_is_needed_can_be_told(postgres: PostgresProcess, everything: str) -> None:  # noqa: F811
    whole, one = source_of(postgres).measure(), source_of(postgres, everything).measure()
    assert 5_000_000 < one < whole


@pytest.mark.parametrize("fixed", [{"kind": "postgres"}, {}])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@host/db",
        "postgresql://user@host/db?password=hunter2",
        "postgresql://host/db?user=u&sslpassword=hunter2",
        "mysql://hunter2@host/db",
        "host=a password=hunter2",
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(fixed: dict[str, str], url: str) -> None:
    model = PostgresSettings if fixed else PostgresTarget
    with pytest.raises(ValidationError) as raised:
        model.model_validate({"url": url, **fixed})
    assert "hunter2" not in str(raised.value)


def test_a_url_that_makes_no_sense_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTED_URL", "postgresql://user:hunter2@host:port/%zz?nonsense=1")
    with pytest.raises(SettingsError, match=r"URL of the PostgreSQL server in `env:TESTED_URL`") as raised:
        made("env:TESTED_URL").capture()
    assert "hunter2" not in str(raised.value)


def test_no_secret_is_in_any_argument_or_text_while_a_capture_runs(
    postgres: PostgresProcess,  # noqa: F811
    everything: str,  # noqa: F811
    password: str,
) -> None:
    seen: set[str] = set()
    source = made(postgres.tcp_url(), password=password, databases=[everything])
    for _ in source.capture():
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    programs = {word for line in seen for word in ("pg_dump --format", "psql --no-psqlrc") if word in line}
    assert len(programs) == 2, "the programs were not seen at work"
    assert not [line for line in seen if PASSWORD in line or "%41 $HOME" in line]
    assert PASSWORD not in repr(source.__dict__) + repr(source._server())


def test_the_programs_of_an_older_version_are_passed_over(tmp_path: Path) -> None:
    from tasks.sources.postgresql.programs import programs_for

    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pg_dump", "pg_dumpall", "pg_restore", "psql"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 14.9 (Debian)'\n")
        (folder / name).chmod(0o755)
    assert programs_for(14, folder).major == 14
    assert programs_for(12, folder).path("psql") == str(folder / "psql")
    with pytest.raises(
        SourceError, match=r"there is only that of version 14; install the package `postgresql-client-17`"
    ):
        programs_for(17, folder)
    assert subprocess.run([folder / "psql"], capture_output=True, check=True).stdout

"""The parts of the PostgreSQL source that need no server."""

from __future__ import annotations

import random
import struct
from itertools import permutations
from typing import Any

import pytest

from tasks.errors import Damaged, NewerFormat, NoSpace, Refused, SourceError, Unavailable
from tasks.sources.postgres import PostgresTarget
from tasks.sources.postgresql.catalogue import SequenceValue, Table, literal, quoted
from tasks.sources.postgresql.creating import properties, variable_value
from tasks.sources.postgresql.databases import Database
from tasks.sources.postgresql.digest import RowSum, added
from tasks.sources.postgresql.document import Document
from tasks.sources.postgresql.dump import without_time
from tasks.sources.postgresql.names import file_name
from tasks.sources.postgresql.roles import role_of, statements
from tasks.sources.postgresql.rows import TableRows, _Session
from tasks.sources.postgresql.server import Server

ORDERS = Table("public", "orders", ("id", "note"), ("id",), True)
SHOP = Database(
    "shop", "app", "UTF8", "C", "C", "c", "", "pg_default", -1, "", None, (), (), True, 15, "15.18"
)  # fmt: skip


class Printed:
    """A child that prints what is given, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, size: int) -> bytes:
        if not self._pieces:
            raise Unavailable("it ended early")
        return self._pieces.pop(0)


def session(*pieces: bytes) -> _Session:
    made = object.__new__(_Session)
    made.__dict__.update(_child=Printed(*pieces), _data=b"", _at=0, _new_line=True, _open=True)
    return made


def tables_in(reading: _Session, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        reading._new_line = reading._open = True
        content = b""
        while piece := reading.piece():
            content += piece
        found.append(content)
    return found


CONTENTS = [b"", b"1\ta\n2\tb\n", b"\n\n", b"\\\\.\n", b"x\\\\.\n\\N\n", b"", b"a\\nb\n"]


def test_rows_are_told_from_the_ends_of_tables_wherever_the_pieces_are_cut() -> None:
    printed = b"".join(content + b"\\.\n" for content in CONTENTS)
    dice = random.Random(3)
    for step in (1, 2, 3, 5, 1000):
        pieces = [printed[at : at + step] for at in range(0, len(printed), step)]
        assert tables_in(session(*pieces), len(CONTENTS)) == CONTENTS
    for _ in range(200):
        cuts = sorted(dice.sample(range(1, len(printed)), 6))
        pieces = [printed[one:other] for one, other in zip([0, *cuts], [*cuts, len(printed)], strict=True)]
        assert tables_in(session(*pieces), len(CONTENTS)) == CONTENTS


def test_the_end_of_a_large_table_is_found_wherever_it_lies() -> None:
    row = b"1\t\\N\t\\\\.\n"
    for size in (*range(16_300, 16_480, 9), 40_000):
        content = b"x" * (size % len(row)) + b"\n" + row * (size // len(row))
        printed = content + b"\\.\n" + b"2\n\\.\n"
        assert tables_in(session(printed), 2) == [content, b"2\n"]


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 7])
def test_a_table_without_its_end_is_never_taken_for_a_shorter_one(cut: int) -> None:
    printed = b"1\ta\n2\tb\n\\.\n"
    with pytest.raises(Unavailable, match="it ended early"):
        tables_in(session(printed[:-cut]), 1)


def test_the_sum_of_rows_is_the_same_in_any_order_and_for_any_pieces() -> None:
    rows = [b"a\t1\n", b"b\t2\n", b"b\t2\n", b"\n"]
    sums = set()
    for order in permutations(rows):
        whole, split = RowSum(), RowSum()
        whole.add(b"".join(order))
        for byte in b"".join(order):
            split.add(bytes((byte,)))
        sums |= {whole.hex(), split.hex()}
    assert len(sums) == 1
    for other in (rows[:3], [*rows, b"\n"], [b"a\t2\n", *rows[1:]], [b"a\n", b"1\n", *rows[1:]]):
        different = RowSum()
        different.add(b"".join(other))
        assert different.hex() not in sums


def test_sums_of_parts_add_up() -> None:
    whole, one, other = RowSum(), RowSum(), RowSum()
    whole.add(b"a\nb\nc\n")
    one.add(b"c\n")
    other.add(b"b\na\n")
    assert added(one.hex(), other.hex()) == whole.hex()


def test_rows_are_counted_and_only_those_in_no_steady_order_are_summed() -> None:
    steady = TableRows(session(b"1\n2\n\\.\n"), ORDERS)
    assert steady.piece() == b"1\n2\n"
    assert (steady.count, steady.row_sum) == (2, "")
    loose = TableRows(session(b"2\n1\n\\.\n"), Table("public", "log", ("id",), (), False))
    expected = RowSum()
    expected.add(b"1\n2\n")
    assert loose.piece() == b"2\n1\n"
    assert (loose.count, loose.row_sum) == (2, expected.hex())


@pytest.mark.parametrize("version", [14, 15, 16])
def test_the_time_in_an_archives_head_is_always_the_same(version: int) -> None:
    def head(second: int) -> bytes:
        compression = b"\0" + struct.pack("<i", 0) if version < 15 else b"\0"
        time = b"".join(b"\0" + struct.pack("<i", value) for value in (second, 1, 2, 3, 4, 126, 0))
        return (b"PGDMP" + bytes((1, version, 0, 4, 8, 1)) + compression + time).ljust(64, b"x")

    assert without_time(head(5)) == without_time(head(55))
    assert without_time(head(5)) != head(5)
    assert (
        without_time(head(5))[11 + (5 if version < 15 else 1) + 35 :] == head(5)[11 + (5 if version < 15 else 1) + 35 :]
    )
    assert without_time(b"something else") == b"something else"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orders", b"orders"),
        ("a/b", b"a%2Fb"),
        ("..", b"%2E."),
        (".", b"%2E"),
        ("100%", b"100%25"),
        ("%2F", b"%252F"),
        ("line\nbreak\x7f", b"line%0Abreak%7F"),
        ("Über", "Über".encode()),
    ],
)
def test_a_name_becomes_the_name_of_a_file(name: str, expected: bytes) -> None:
    assert file_name(name) == expected


def test_a_script_falls_into_its_statements() -> None:
    script = """
--
-- Roles; not a statement
--
SET x = on;
CREATE ROLE "odd; ""role'";
ALTER ROLE app WITH PASSWORD 'a;b''c' VALID UNTIL '2030-01-01';
COMMENT ON ROLE app IS E'it\\'s; -- this';
GRANT readers TO app;
"""
    found = list(statements(script))
    assert [role_of(statement) for statement in found] == [None, "odd; \"role'", "app", "app", None]
    assert found[3] == "COMMENT ON ROLE app IS E'it\\'s; -- this'"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("work_mem", "7MB", "'7MB'"),
        ("search_path", '"$user", public', "'$user', 'public'"),
        ("search_path", '"odd ""one", internal', "'odd \"one', 'internal'"),
        ("search_path", '""', "''"),
        ("search_path", "", "''"),
        ("my.own", "a, b", "'a, b'"),
    ],
)
def test_a_setting_is_set_to_what_it_was(name: str, value: str, expected: str) -> None:
    assert variable_value(name, value) == expected


def test_names_and_texts_are_quoted() -> None:
    assert quoted('a"b') == '"a""b"'
    assert literal("it's \\ here") == "E'it''s \\\\ here'"
    assert list(properties('a"b', SHOP, owners=False)) == []
    assert next(iter(properties('a"b', SHOP, owners=True))) == 'ALTER DATABASE "a""b" OWNER TO "app"'


def test_a_document_comes_back_as_it_was_and_damage_is_named() -> None:
    document = Document(
        SHOP,
        (ORDERS, Table("odd", "child", (), (), False, (("odd", "top"),), ("odd", "top"), "WHERE x")),
        (SequenceValue("public", "s", 3, True),),
        {"plpgsql": "1.0"},
        {"tables": 2},
        {"count": 0},
        "pg_dump (PostgreSQL) 17.2",
    )
    assert Document.from_bytes(document.to_bytes()) == document
    assert document.written_by == 17
    with pytest.raises(NewerFormat):
        Document.from_bytes(document.to_bytes().replace(b'"format": 1', b'"format": 2', 1))
    for damaged in (
        b"",
        b"[]",
        b"{}",
        document.to_bytes()[:-20],
        document.to_bytes().replace(b'"tables": [', b'"t": ['),
    ):
        with pytest.raises(Damaged, match=r"database\.json"):
            Document.from_bytes(damaged)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('connection to server at "db" (10.0.0.1), port 5432 failed: Connection refused', Unavailable),
        ("server closed the connection unexpectedly", Unavailable),
        ("the database system is starting up", Unavailable),
        ("canceling statement due to lock timeout", Unavailable),
        ("sorry, too many clients already", Unavailable),
        ("could not open relation with OID 20411", Unavailable),
        ('password authentication failed for user "x"', Refused),
        ("permission denied for table orders", Refused),
        ('query would be affected by row-level security policy for table "t"', Refused),
        ('could not extend file "base/1/2": No space left on device', NoSpace),
        ("something never heard of", SourceError),
    ],
)
def test_what_a_program_complains_of_becomes_an_error_in_one_line(said: str, kind: type[Exception]) -> None:
    server = Server({"password": "hunter2"}, "PostgreSQL at db:5432 as `x`")
    error = server.fault(f"{said} hunter2\nand more", "pg_dump fails")
    assert type(error) is kind
    assert "\n" not in str(error)
    assert "hunter2" not in str(error)
    assert str(error).startswith("PostgreSQL at db:5432 as `x`: pg_dump fails: ")
    assert "hunter2" not in repr(server)


def test_a_child_gets_its_password_in_its_environment_and_no_other_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOMETRA_BACKUP_PASSPHRASE", "never")
    monkeypatch.setenv("PGOPTIONS", "-c row_security=on")
    parameters: dict[str, Any] = {"host": "db", "user": "x", "password": "hunter2", "sslmode": "require", "dbname": "a"}
    environment = Server(parameters, "").environment("b c")
    assert environment["PGPASSWORD"] == "hunter2"
    assert (environment["PGHOST"], environment["PGDATABASE"], environment["PGSSLMODE"]) == ("db", "b c", "require")
    assert "GEOMETRA_BACKUP_PASSPHRASE" not in environment
    assert "PGOPTIONS" not in environment


def test_the_name_that_a_database_gets_is_asked_for_as_a_person_says_it() -> None:
    asked = [{"as": "copy"}, {"name": "copy"}, {}]
    found = [PostgresTarget.model_validate({"url": "postgresql://host/db", **options}).name for options in asked]
    assert found == ["copy", "copy", ""]

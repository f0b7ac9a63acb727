"""The facts of a copy: of a restored server, and of a folder of restored files."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from tasks.content_digest import ContentDigest
from tasks.errors import SourceError
from tasks.item import Facts
from tasks.sources.postgresql import names
from tasks.sources.postgresql.capture import Manner, catalogue_facts, database_facts, look
from tasks.sources.postgresql.catalogue import Table
from tasks.sources.postgresql.digest import RowSum
from tasks.sources.postgresql.document import Document
from tasks.sources.postgresql.facts import TableFacts, tables_facts
from tasks.sources.postgresql.moment import Moment
from tasks.sources.postgresql.programs import Programs
from tasks.sources.postgresql.rows import RowReader, digest_of
from tasks.sources.postgresql.server import Server

_PIECE = 1 << 20


def examine_databases(
    server: Server,
    programs: Programs,
    databases: dict[str, str],
    manner: Manner,
    *,
    only: Container[bytes] | None = None,
) -> Facts:
    """`databases`: by the name that each is reported under, the name it has there. `only`: the paths of the tables that
    count, which are all without it."""
    found = {}
    for shown, name in sorted(databases.items()):
        with Moment(server, name, manner.patience) as moment:
            document = look(moment, programs, large_objects=manner.large_objects)
            encoding = document.database.encoding
            counted = [
                table
                for table in document.tables
                if only is None or names.table_path(shown, table.schema, table.name) in only
            ]
            reader = RowReader(moment, programs, counted, encoding=encoding, sessions=manner.sessions)
            tables = [_counted(reader, table) for table in counted]
            found[shown] = {"tables": tables_facts(tables), **catalogue_facts(document)}
            moment.check()
    return database_facts(found)


def _counted(reader: RowReader, table: Table) -> TableFacts:
    rows = reader.rows(table)
    digest = digest_of(rows)
    return TableFacts(table.counted_as, rows.count, digest)


def examine_folder(folder: Path) -> Facts:
    """Of the files of whole databases. Raises `SourceError` where there is none."""
    found: dict[str, Facts] = {}
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and place != names.README.decode() and not place.endswith(names.COPY.decode()):
            files[place] = _digest(path)
        if path.name == names.DOCUMENT.decode() and path.parent.parent == folder / names.DATABASES.decode():
            document = Document.from_bytes(path.read_bytes())
            rows = [_rows_in(folder, document, table) for table in document.tables]
            name = document.database.name
            found[name] = {"tables": tables_facts(each for each in rows if each), **catalogue_facts(document)}
    if not found:
        raise SourceError(f"there is no database in `{folder}`: was anything restored to it?")
    return {"files": files, **database_facts(found)}


def _rows_in(folder: Path, document: Document, table: Table) -> TableFacts | None:
    path = folder / names.table_path(document.database.name, table.schema, table.name).decode()
    if not path.exists():
        return None
    whole, lines, count = ContentDigest(), RowSum(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            count += piece.count(b"\n")
            if table.steady:
                whole.update(piece)
            else:
                lines.add(piece)
    return TableFacts(table.counted_as, count, whole.hexdigest() if table.steady else lines.hex())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = ContentDigest()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()

"""What a drill sees in its scratch server: of what the snapshot tells of, whatever the source's settings say by now."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from tasks.item import Facts, StoredItems
from tasks.sources.postgresql import creating
from tasks.sources.postgresql.capture import Manner
from tasks.sources.postgresql.databases import names_of
from tasks.sources.postgresql.examining import examine_databases
from tasks.sources.postgresql.programs import programs_for
from tasks.sources.postgresql.scratch_server import SPARE
from tasks.sources.postgresql.server import Server


def rehearsed_facts(server: Server, items: StoredItems, captured: Facts, manner: Manner) -> tuple[Facts, list[str]]:
    """And what is otherwise there through nobody's fault, a line each."""
    with closing(server.connect()) as connection, server.explained("can't look at the server"):
        programs = programs_for(connection.info.server_version // 10000)
        databases = captured.get("tables", {})
        there = {name for name, _ in names_of(connection) if name != SPARE or name in databases}
        # One that is a template here need not have been one there.
        there |= {name for name in databases if creating.exists(connection, name)}
    paths = {item.entry.path for item in items}
    manner = replace(manner, large_objects=True)
    # Where there is none, that is one look too.
    found = {"tables": {}, **examine_databases(server, programs, {name: name for name in there}, manner, only=paths)}
    for name, facts in found.get("large_objects", {}).items():
        told = captured.get("large_objects", {}).get(name, {})
        # Who captured may not have been allowed to read them, or may have been told to leave them out.
        found["large_objects"][name] = {key: fact for key, fact in facts.items() if key in told}
    return found, _other_versions(found, captured)


def _other_versions(found: Facts, captured: Facts) -> list[str]:
    """A dump does not say which version of an extension was there: a restore makes the one that a server comes with."""
    lines = []
    for database, extensions in found.get("extensions", {}).items():
        before = captured.get("extensions", {}).get(database, {})
        for name, version in extensions.items():
            if name in before and before[name] != version:
                lines.append(f"the extension `{name}` of `{database}` is of version {version}, and was {before[name]}")
                extensions[name] = before[name]
    return lines

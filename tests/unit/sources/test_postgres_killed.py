"""One table goes into a database that holds others, and whoever restores it is killed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tasks.errors import Occupied
from tasks.item import Stored
from tests.contracts.child import FORK
from tests.contracts.memory_items import MemoryItems, Saved
from tests.postgres_content import rows_of
from tests.postgres_fixtures import postgres, postgres_programs, shared_postgres  # noqa: F401 - fixtures
from tests.postgres_process import PostgresProcess
from tests.unit.sources.test_postgres_restoring import restore, saved  # noqa: F401 - a fixture

COMMENT = "SELECT obj_description('public.pets'::regclass, 'pg_class')"


class Killing(MemoryItems):
    """Kills whoever reads the rows of one table."""

    def open(self, item: Stored) -> Any:
        if item.entry.path.endswith(b"/public/pets.copy"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(item)


def test_what_a_killed_restore_has_made_does_not_pass_for_the_table(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("elsewhere")
    postgres.run("CREATE TABLE own (id integer)", database="elsewhere")
    process = FORK.Process(target=lambda: restore(postgres, Killing(saved), table="public.pets", into="elsewhere"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert rows_of(postgres, "elsewhere")["public.pets"] == []
    with pytest.raises(Occupied, match=r"`elsewhere` is left from a restore that was cut off.*drop it, or allow to"):
        restore(postgres, saved, table="public.pets", into="elsewhere")
    restore(postgres, saved, table="public.pets", into="elsewhere", overwrite=True)
    assert rows_of(postgres, "elsewhere")["public.pets"] == rows_of(postgres, "small")["public.pets"]
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'pets' ORDER BY 1"
    assert postgres.rows(indexes, "elsewhere") == postgres.rows(indexes, "small") != []
    assert postgres.rows(COMMENT, "elsewhere") == postgres.rows(COMMENT, "small")


def test_a_table_that_is_made_has_its_own_comment(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("elsewhere")
    postgres.run("CREATE TABLE own (id integer)", database="elsewhere")
    restore(postgres, saved, table="public.pets", into="elsewhere")
    assert postgres.rows(COMMENT, "elsewhere") == postgres.rows(COMMENT, "small")

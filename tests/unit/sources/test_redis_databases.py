"""What belongs into a database that the target has not goes into no other, and users are there after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import Refused
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.unit.sources.test_redis_restore import held, into, of, start

pytestmark = pytest.mark.needs("redis-server")


def test_keys_of_a_database_that_the_target_has_not_go_into_no_other() -> None:
    with start("--databases", "64") as server, start() as other:
        for database, value in ((0, "near"), (60, "far")):
            with server.client(database) as client:
                client.set("key", value)
                client.set(value, "value")
        saved = Saved(of(server).capture())
        with pytest.raises(Refused, match="has no database 60"):
            of(server).restore_into(saved, saved, into(other), Restoring(overwrite=True))
        assert {name: each[1] for name, each in held(other).items()} == {(0, b"key"): b"near", (0, b"near"): b"value"}


def test_users_are_there_after_a_restart_of_a_server_that_keeps_them_in_a_file(tmp_path: Path) -> None:
    kept = tmp_path / "users.acl"
    kept.touch()
    with start() as server, start("--aclfile", str(kept)) as other:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~read:*", "+get")
        saved = Saved(of(server).capture())
        [line] = of(server).restore_into(saved, saved, into(other, users=True), Restoring())
        assert "`default` was left" in line
        other.kill()
        other.start()
        with other.client() as client:
            assert client.execute_command("ACL", "USERS") == ["default", "reader"]

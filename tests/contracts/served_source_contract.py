"""What every source that lives in a server promises. Subclass `ServedSourceContract`, supply the fixtures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tasks.errors import BackupError, Occupied, Refused, Unavailable
from tasks.item import Stored
from tasks.scratch import scratch_folder, usual
from tasks.sources.source import Rehearsable, Restoring, Served, Source
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree


class ServedSource(Source, Served, Rehearsable, Protocol):
    """All three protocols."""


class ServedSourceContract:
    """Capture, restore into a folder and into a server, examine both."""

    @pytest.fixture
    def source(self) -> ServedSource:
        """A source that holds something, at rest for a moment."""
        raise NotImplementedError

    @pytest.fixture
    def target(self) -> Any:
        """A `Target`: a running server of the same version, that holds nothing."""
        raise NotImplementedError

    @pytest.fixture
    def change(self) -> Callable[[], None]:
        """Changes one small thing in the source."""
        raise NotImplementedError

    @pytest.fixture
    def damage(self) -> Callable[[], None]:
        """Changes one small thing in the target."""
        raise NotImplementedError

    @pytest.fixture
    def holding(self) -> Callable[[], object]:
        """All that the target holds, to be compared."""
        raise NotImplementedError

    @pytest.fixture
    def absent(self) -> ServedSource:
        """One of the same kind, of a server that is not there."""
        raise NotImplementedError

    @pytest.fixture
    def absent_target(self) -> Any:
        """A `Target` that is not there."""
        raise NotImplementedError

    @pytest.fixture
    def locked(self) -> tuple[ServedSource, str]:
        """A source whose password the server refuses, and that password."""
        raise NotImplementedError

    def test_items_come_sorted_and_each_once(self, source: ServedSource) -> None:
        paths = [item.entry.path.split(b"/") for item in source.capture()]
        assert paths
        assert paths == sorted(paths)
        assert len({tuple(path) for path in paths}) == len(paths)

    def test_a_capture_at_rest_has_no_flaws(self, source: ServedSource) -> None:
        assert Saved(source.capture()).flaws == []

    def test_facts_are_json(self, source: ServedSource) -> None:
        facts = Saved(source.capture()).facts
        assert facts
        assert json.loads(json.dumps(facts)) == facts

    def test_a_second_capture_of_the_same_has_the_same_facts(self, source: ServedSource) -> None:
        assert Saved(source.capture()).facts == Saved(source.capture()).facts

    def test_a_change_changes_the_facts(self, source: ServedSource, change: Callable[[], None]) -> None:
        first = Saved(source.capture())
        change()
        assert Saved(source.capture()).facts != first.facts

    def test_a_restored_server_has_the_facts_of_the_capture(self, source: ServedSource, target: Any) -> None:
        saved = Saved(source.capture())
        source.restore_into(saved, saved, target, Restoring())
        assert agree(source.examine_at(target), saved.facts)

    def test_a_drill_sees_in_a_server_of_its_own_what_was_captured(self, source: ServedSource) -> None:
        saved = Saved(source.capture())
        with scratch_folder(usual()) as scratch:
            found = source.rehearse(saved, saved.facts, scratch)
        assert found.missed == []
        assert found.looks
        assert all(agree(look, saved.facts) for look in found.looks)

    def test_a_drill_sees_what_is_not_as_it_was_captured(
        self, source: ServedSource, change: Callable[[], None]
    ) -> None:
        first = Saved(source.capture())
        change()
        with scratch_folder(usual()) as scratch:
            found = source.rehearse(Saved(source.capture()), first.facts, scratch)
        assert not all(agree(look, first.facts) for look in found.looks)

    def test_a_damaged_server_has_other_facts(
        self, source: ServedSource, target: Any, damage: Callable[[], None]
    ) -> None:
        saved = Saved(source.capture())
        source.restore_into(saved, saved, target, Restoring())
        damage()
        assert not agree(source.examine_at(target), saved.facts)

    def test_an_occupied_server_is_left_as_it_is(
        self, source: ServedSource, target: Any, damage: Callable[[], None], holding: Callable[[], object]
    ) -> None:
        saved = Saved(source.capture())
        source.restore_into(saved, saved, target, Restoring())
        damage()
        before = holding()
        with pytest.raises(Occupied) as raised:
            source.restore_into(saved, saved, target, Restoring())
        assert "\n" not in str(raised.value)
        assert holding() == before

    def test_an_occupied_server_is_overwritten_where_that_is_allowed(
        self, source: ServedSource, target: Any, damage: Callable[[], None]
    ) -> None:
        saved = Saved(source.capture())
        source.restore_into(saved, saved, target, Restoring())
        damage()
        source.restore_into(saved, saved, target, Restoring(overwrite=True))
        assert agree(source.examine_at(target), saved.facts)

    def test_items_may_be_given_only_once(self, source: ServedSource, target: Any, tmp_path: Path) -> None:
        def once() -> list[Stored]:
            return list(saved)

        saved = Saved(source.capture())
        source.restore_into(saved, iter(once()), target, Restoring())
        assert agree(source.examine_at(target), saved.facts)
        source.restore(saved, iter(once()), tmp_path / "copy", Restoring())
        assert agree(source.examine(tmp_path / "copy"), saved.facts)

    def test_a_restore_into_a_folder_writes_into_that_only(self, source: ServedSource, tmp_path: Path) -> None:
        around = tmp_path / "around"
        around.mkdir()
        saved = Saved(source.capture())
        source.restore(saved, saved, around / "copy", Restoring())
        assert os.listdir(around) == ["copy"]
        assert agree(source.examine(around / "copy"), saved.facts)

    def test_checking_a_good_source_finds_nothing_fatal(self, source: ServedSource) -> None:
        assert [problem for problem in source.check() if problem.fatal] == []

    def test_checking_what_is_not_there_says_so_and_what_to_do(self, absent: ServedSource) -> None:
        problems = [problem for problem in absent.check() if problem.fatal]
        assert problems
        assert all(problem.what and problem.advice and "\n" not in problem.what for problem in problems)

    def test_a_server_that_is_not_there_is_unavailable(
        self, source: ServedSource, absent: ServedSource, absent_target: Any
    ) -> None:
        with pytest.raises(Unavailable) as raised:
            Saved(absent.capture())
        assert "\n" not in str(raised.value)
        saved = Saved(source.capture())
        with pytest.raises(Unavailable):
            source.restore_into(saved, saved, absent_target, Restoring())

    def test_a_password_that_is_refused_is_never_shown(self, locked: tuple[ServedSource, str]) -> None:
        source, secret = locked
        with pytest.raises(Refused) as raised:
            Saved(source.capture())
        shown = [str(raised.value), repr(raised.value), repr(source), repr(vars(source))]
        error: BaseException | None = raised.value
        while error := error.__cause__ or error.__context__ if error else None:
            shown.append(repr(error))
        problems = source.check()
        assert any(problem.fatal for problem in problems)
        assert secret not in " ".join([*shown, *map(repr, problems)])

    def test_errors_are_ours(self, absent: ServedSource) -> None:
        with pytest.raises(BackupError):
            list(absent.capture())

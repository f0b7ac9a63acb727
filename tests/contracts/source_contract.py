"""What every source promises. Subclass `SourceContract`, supply the fixtures, and all of it is tested."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import SourceError
from tasks.item import Facts, Stored
from tasks.sources.source import Measured, Restoring, Source
from tests.contracts.memory_items import Saved


def agree(examined: Facts, captured: Facts) -> bool:
    """A copy's facts are among those of the capture, which may hold some that a copy can't show."""
    return bool(examined) and all(captured.get(name) == fact for name, fact in examined.items())


class SourceContract:
    """Capture, restore and examine."""

    @pytest.fixture
    def source(self) -> Source:
        """A source that holds something, at rest for a moment."""
        raise NotImplementedError

    @pytest.fixture
    def change(self) -> Callable[[], None]:
        """Changes one small thing in the source."""
        raise NotImplementedError

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        """Changes one small thing in a restored copy."""
        raise NotImplementedError

    @pytest.fixture
    def absent(self) -> Source:
        """One of the same kind, of something that is not there."""
        raise NotImplementedError

    def test_items_come_sorted_and_each_once(self, source: Source) -> None:
        paths = [item.entry.path.split(b"/") for item in source.capture()]
        assert paths
        assert paths == sorted(paths)
        assert len({tuple(path) for path in paths}) == len(paths)

    def test_every_item_is_below_a_folder_that_came_before_it(self, source: Source) -> None:
        seen = {b""}
        for item in source.capture():
            assert item.entry.path.rpartition(b"/")[0] in seen
            if item.entry.type == "d":
                seen.add(item.entry.path)

    def test_a_capture_at_rest_has_no_flaws(self, source: Source) -> None:
        assert Saved(source.capture()).flaws == []

    def test_a_restored_copy_has_the_facts_of_the_capture(self, source: Source, tmp_path: Path) -> None:
        saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        assert agree(source.examine(tmp_path / "copy"), saved.facts)

    def test_a_damaged_copy_has_other_facts(
        self, source: Source, damage: Callable[[Path], None], tmp_path: Path
    ) -> None:
        saved = Saved(source.capture())
        source.restore(saved, saved, tmp_path / "copy", Restoring())
        damage(tmp_path / "copy")
        assert not agree(source.examine(tmp_path / "copy"), saved.facts)

    def test_facts_are_json(self, source: Source) -> None:
        facts = Saved(source.capture()).facts
        assert json.loads(json.dumps(facts)) == facts

    def test_a_second_capture_of_the_same_has_the_same_facts(self, source: Source) -> None:
        first = Saved(source.capture())
        second = Saved(source.capture(), first)
        assert [item.entry for item in second] == [item.entry for item in first]
        assert all(again.content == item.content for again, item in zip(second, first, strict=True))
        assert second.facts == first.facts

    def test_a_change_changes_the_facts(self, source: Source, change: Callable[[], None]) -> None:
        first = Saved(source.capture())
        change()
        second = Saved(source.capture(), first)
        assert second.facts != first.facts

    def test_a_restore_writes_into_its_folder_only(self, source: Source, tmp_path: Path) -> None:
        around = tmp_path / "around"
        around.mkdir()
        saved = Saved(source.capture())
        source.restore(saved, saved, around / "copy", Restoring())
        assert os.listdir(around) == ["copy"]

    def test_items_may_be_given_to_restore_only_once(self, source: Source, tmp_path: Path) -> None:
        def once() -> list[Stored]:
            return list(saved)

        saved = Saved(source.capture())
        source.restore(saved, iter(once()), tmp_path / "copy", Restoring())
        assert agree(source.examine(tmp_path / "copy"), saved.facts)

    def test_checking_a_good_source_finds_nothing_fatal(self, source: Source) -> None:
        assert [problem for problem in source.check() if problem.fatal] == []

    def test_what_a_first_capture_reads_is_told_beforehand_by_who_can_tell(self, source: Source) -> None:
        """So that a spool that is too small is found before the night."""
        if isinstance(source, Measured):
            assert source.measure() > sum(len(item.content) for item in Saved(source.capture())) / 20

    def test_checking_what_is_not_there_says_so_and_what_to_do(self, absent: Source) -> None:
        problems = [problem for problem in absent.check() if problem.fatal]
        assert problems
        assert all(problem.what and problem.advice for problem in problems)

    def test_capturing_what_is_not_there_is_an_error(self, absent: Source) -> None:
        with pytest.raises(SourceError) as raised:
            list(absent.capture())
        assert "\n" not in str(raised.value)

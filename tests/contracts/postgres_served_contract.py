"""What every source that lives in a server promises beside what every source does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.errors import Occupied
from tasks.sources.source import Restoring, Served, Source
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree


class ServedContract:
    """Restore into a server, and examine what it holds. Subclass it and supply the fixtures."""

    @pytest.fixture
    def source(self) -> Source:
        """A source of a server that holds something, at rest for a moment."""
        raise NotImplementedError

    @pytest.fixture
    def target(self) -> Any:
        """A `Target`: a running server with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def damage_at(self) -> Callable[[], None]:
        """Changes one small thing in the target server, once there is something."""
        raise NotImplementedError

    @pytest.fixture
    def served(self, source: Source) -> Served:
        assert isinstance(source, Served)
        return source

    def test_a_restored_server_has_the_facts_of_the_capture(self, source: Source, served: Served, target: Any) -> None:
        saved = Saved(source.capture())
        assert served.restore_into(saved, saved, target, Restoring()) == []
        assert agree(served.examine_at(target), saved.facts)

    def test_a_damaged_server_has_other_facts(
        self, source: Source, served: Served, target: Any, damage_at: Callable[[], None]
    ) -> None:
        saved = Saved(source.capture())
        served.restore_into(saved, saved, target, Restoring())
        damage_at()
        assert not agree(served.examine_at(target), saved.facts)

    def test_a_server_with_data_is_left_as_it_is(
        self, source: Source, served: Served, target: Any, damage_at: Callable[[], None]
    ) -> None:
        saved = Saved(source.capture())
        served.restore_into(saved, saved, target, Restoring())
        damage_at()
        before = served.examine_at(target)
        with pytest.raises(Occupied):
            served.restore_into(saved, saved, target, Restoring())
        assert served.examine_at(target) == before

    def test_a_server_with_data_is_replaced_if_told_to(
        self, source: Source, served: Served, target: Any, damage_at: Callable[[], None]
    ) -> None:
        saved = Saved(source.capture())
        served.restore_into(saved, saved, target, Restoring())
        damage_at()
        served.restore_into(saved, saved, target, Restoring(overwrite=True))
        assert agree(served.examine_at(target), saved.facts)

    def test_items_may_be_given_to_restore_into_only_once(self, source: Source, served: Served, target: Any) -> None:
        saved = Saved(source.capture())
        served.restore_into(saved, iter(list(saved)), target, Restoring())
        assert agree(served.examine_at(target), saved.facts)

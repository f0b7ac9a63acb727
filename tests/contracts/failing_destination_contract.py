"""How a destination tells that it can't: each store fails in its own way, which its test supplies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.destinations.destination import Destination
from tasks.errors import BackupError, Missing, NoSpace, Refused, Unavailable

MIB = 1 << 20

OPERATIONS: dict[str, Callable[[Destination], object]] = {
    "put": lambda destination: destination.put("kept/two", b"2"),
    "put elsewhere": lambda destination: destination.put("new/one", b"1"),
    "get": lambda destination: destination.get("kept/one"),
    "list": lambda destination: list(destination.list()),
    "list a part": lambda destination: list(destination.list("kept/")),
    "delete": lambda destination: destination.delete("kept/one"),
}

Attempt = Callable[[Callable[[Destination], object]], BackupError]


class RefusingDestinationContract:
    """A store that does not let this user in."""

    @pytest.fixture
    def destination(self) -> Destination:
        """The store, seen by somebody who may use it."""
        raise NotImplementedError

    @pytest.fixture
    def refused(self, destination: Destination) -> Attempt:
        """Does something to the same store as somebody who may not, and returns the error that this raised."""
        raise NotImplementedError

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_store_that_lets_nobody_in_refuses(
        self, destination: Destination, refused: Attempt, operation: str
    ) -> None:
        destination.put("kept/one", b"1")
        error = refused(OPERATIONS[operation])
        assert type(error) is Refused
        assert len(str(error).splitlines()) == 1
        assert [tuple(each) for each in destination.list()] == [("kept/one", 1)]
        assert destination.get("kept/one") == b"1"


class FullDestinationContract:
    """A store that runs full."""

    @pytest.fixture
    def full(self) -> Destination:
        """One with room for 6 to 10 MiB."""
        raise NotImplementedError

    def test_what_does_not_fit_is_refused_and_leaves_nothing(self, full: Destination) -> None:
        full.put("kept/one", b"1" * MIB)
        for _ in range(3):
            with pytest.raises(NoSpace, match="too/large") as caught:
                full.put("too/large", b"2" * (16 * MIB))
            assert len(str(caught.value).splitlines()) == 1
            with pytest.raises(Missing):
                full.get("too/large")
        assert [tuple(each) for each in full.list()] == [("kept/one", MIB)]
        full.put("kept/two", b"3" * (4 * MIB))
        assert full.get("kept/two") == b"3" * (4 * MIB)
        assert full.get("kept/one") == b"1" * MIB


class VanishingDestinationContract:
    """A store that is gone: unplugged, unmounted, removed."""

    @pytest.fixture
    def destination(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def vanish(self) -> Callable[[], None]:
        """Takes the store away."""
        raise NotImplementedError

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_store_that_is_gone_is_unavailable_never_empty(
        self, destination: Destination, vanish: Callable[[], None], operation: str
    ) -> None:
        destination.put("kept/one", b"1")
        vanish()
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                OPERATIONS[operation](destination)
            assert len(str(caught.value).splitlines()) == 1

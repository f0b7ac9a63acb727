"""Whether a service looks at what it is sent: what a destination that relies on it offers to find out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tasks.destinations.destination import Destination


@runtime_checkable
class Checking(Protocol):
    """A destination, or a view of one, whose service may be of a kind that takes what arrives damaged."""

    def refuses_damaged(self, name: str) -> bool:
        """Store `name` so that it arrives otherwise than it was signed; true where the service refuses that. Raises
        `Exists`."""
        ...


def refuses_damaged(destination: Destination, name: str) -> bool:
    """True, too, of a destination that looks by itself at each thing that it stores."""
    return destination.refuses_damaged(name) if isinstance(destination, Checking) else True

"""Which events a rule would have caught, newest first: 24 bytes each, so that the list behind a sample can be shown."""

from array import array
from uuid import UUID

CAUGHT_MAX = 10_000
NO_RULE = -1


class Caught:
    """The newest CAUGHT_MAX events with the rule that each is taken from, None being no rule."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._origins = array("q")

    def add(self, event_id: str, origin: int | None) -> None:
        """Note an event older than all before it."""
        if len(self._origins) < CAUGHT_MAX:
            self._ids += UUID(event_id).bytes
            self._origins.append(NO_RULE if origin is None else origin)

    def count(self, origin: int | None = None) -> int:
        """Return how many are noted, of all or of those from one rule (NO_RULE for none)."""
        return len(self._places(origin))

    def page(self, start: int, size: int, origin: int | None = None) -> list[str]:
        """Return the ids of a page of them."""
        places = self._places(origin)[start : start + size]
        return [str(UUID(bytes=bytes(self._ids[16 * place : 16 * place + 16]))) for place in places]

    def _places(self, origin: int | None) -> list[int] | range:
        if origin is None:
            return range(len(self._origins))
        return [place for place, each in enumerate(self._origins) if each == origin]

"""What the doors for other protocols share: their requests are the ingest route's, their bodies and replies are not."""

from abc import ABC, abstractmethod

from mutt.intake import Taken
from services.ingestor.exchange import Exchange
from services.ingestor.head import KnownHead
from services.ingestor.readers import Readers
from services.ingestor.turns import Refusal

RETRY_LATE = 5  # seconds
MOST_WORDS = 5  # of a batch's rejected records, those whose reason is told


class ForeignExchange(Exchange, ABC):
    """A request in another protocol; how it is read and answered is its own."""

    inline_bytes = 8 * 1024  # another protocol's records cost several times what the ingest route's do

    @property
    def readers(self) -> Readers:
        """The threads of the other protocols."""
        return self._door.foreign_readers

    def known_by(self, data: bytes) -> KnownHead | None:
        """Know no head by sight: what is known that way is the ingest route's."""

    def abandon(self, refusal: Refusal) -> None:
        """Refuse a body that does not arrive with the status that senders of both protocols try again after."""
        super().abandon(refusal._replace(status=503, retry_after=RETRY_LATE))

    def taken(self, depth: int) -> None:  # noqa: ARG002  (neither protocol has a word for it)
        """Reply that Redis has what was sent."""
        taken = self._taken
        assert taken is not None  # noqa: S101  (only what was read is pushed)
        if taken.rejected:
            self._door.outcomes.failed("validation", len(taken.rejected), self._door.clock.now())
        self._reply(200, self._accepted(taken))

    def _turned_away(self, body: bytes) -> bool:  # noqa: ARG002
        """Read all that comes: only that tells how many records it is."""
        return False

    def _push(self, taken: Taken) -> None:
        """Account for the entries, however short the body: they may be many times it."""
        if self._reckon(taken):
            super()._push(taken)

    @abstractmethod
    def _accepted(self, taken: Taken) -> bytes:
        """Return the body of the reply that Redis has what was sent."""

"""The request that most senders repeat: one plain event under the head that their connection sent before."""

import time

from mutt.bodies import is_one_object
from mutt.intake import Accepted, Taken
from services.ingestor.exchange import SMALL_BYTES, Exchange
from services.ingestor.turns import Refusal


class Lone(Exchange):
    """Made once a connection and used for one request after the other, as long as each is answered as expected.

    All else goes the way of every exchange, and then it is `spent`: the connection's next request gets another one.
    """

    is_spent = False
    _started = _complete = True
    _event: Accepted | None = None

    def again(self, body: bytes, began: float) -> None:
        """Take the next request's whole body and answer; the request before has its reply."""
        self.response_complete = False
        self._began = began
        size = len(body)
        if not self._hold(size):
            return
        if size <= SMALL_BYTES and self._head.is_silent and is_one_object(body):
            self._door.gathering.add(self, body)
        else:
            self._read(body)

    def hold(self, event: Accepted) -> None:
        """Keep the event that the body was found to be; it is pushed next."""
        self._event = event
        self.entries = (event.entry,)

    def fail(self, error: Exception) -> None:
        """Answer that the event could not be pushed."""
        self._unread(error)

    def taken(self, depth: int) -> None:
        """Reply that Redis has what was sent; `depth` is the queue's."""
        event = self._event
        if event is None or not self.keep_alive or self._head.deprecated:
            self._remember()
            super().taken(depth)
            return
        door, connection = self._door, self._connection
        size, self.size = self.size, 0
        door.in_flight -= size
        self.peer.in_flight -= size
        self._event, self.entries, self.response_complete = None, (), True
        connection.send(door.queued.reply(event, depth, connection.date()))
        now = time.perf_counter()
        door.latency.observe(now - self._began)
        connection.finished(now, close=False)

    def _remember(self) -> None:
        if self._event is not None:
            self._taken, self._event = Taken(True, [self._event], []), None

    def _refuse(self, refusal: Refusal, events: int, failure: BaseException | None = None) -> None:
        self._remember()
        super()._refuse(refusal, events, failure)

    def _reply(self, status: int, body: bytes, retry_after: int | None = None) -> None:
        self.is_spent = True
        super()._reply(status, body, retry_after)

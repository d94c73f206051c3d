"""One request of the ingest route, from its headers to its reply; it takes the place of uvicorn's cycle."""

import time
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from mutt.intake import Receipt, Taken
from mutt.records import RecordError
from services.ingestor import replies
from services.ingestor.commit import INTERNAL
from services.ingestor.connection import NOBODY, Connection
from services.ingestor.door import Door
from services.ingestor.head import Head, KnownHead
from services.ingestor.readers import Readers, Reading
from services.ingestor.turns import Refusal
from services.logging_utils import get_logger

if TYPE_CHECKING:
    from services.tracing_spans import Traced

SMALL_BYTES = 4 * 1024  # larger bodies wait for their sender's turn
INLINE_BYTES = 256 * 1024  # larger bodies are read in a thread: they would hold up everybody else's
DRAIN_BYTES = 1024 * 1024  # of a refused body: past this the connection is given up instead
LATE_SECONDS = 1.0  # after which a sender that went before it was read has given up; sooner, it never meant to wait
STATUS_OF = {"json": 400, "validation": 400, "too_large": 413}

log = get_logger(__name__)


class Exchange:
    """A request; uvicorn's protocol reads `response_complete`, `disconnected`, `message_event`, writes `keep_alive`."""

    # Defaults of the class: an exchange is made for every event, and most of these are never set.
    message_event = NOBODY
    response_complete = False
    disconnected = False
    single = True
    inline_bytes = INLINE_BYTES
    media = replies.JSON
    entries: Sequence[bytes] = ()
    quarantine: Sequence[bytes] = ()
    size = 0
    _parts: list[bytes] | None = None
    _complete = False
    _started = False
    _waits_for_continue = False
    _taken: Taken | None = None
    _refusal: Refusal | None = None
    _traced: "Traced | None" = None

    def __init__(self, door: Door, connection: Connection, head: Head, began: float) -> None:
        self.keep_alive = head.keep_alive
        self._door = door
        self._connection = connection
        self.peer = connection.peer
        self._head = head
        self._began = began

    @property
    def readers(self) -> Readers:
        """The threads that read larger bodies."""
        return self._door.readers

    @property
    def waits_for_reply(self) -> bool:
        """Whether all of it has come, and it is not answered yet."""
        return self._complete and not self.response_complete

    def judge(self) -> None:
        """Look at the head; a refusal is sent when the exchange's turn has come."""
        self._refusal = self._door.judge(self._head)
        self._waits_for_continue = self._head.expects_continue

    def known_by(self, data: bytes) -> KnownHead | None:
        """Return how to know a request like this one, of which `data` is the whole."""
        if self._refusal is not None:
            return None
        return KnownHead.of_request(data, self._head, self._door.keys.generation)

    def start(self) -> None:
        """Begin to answer: every earlier request of the connection has its reply."""
        if self.disconnected:
            return
        self._started = True
        if self._refusal is not None:
            self.refused(self._refusal)
        elif self._complete:
            self._read(self._body())
        elif self._waits_for_continue:
            self._connection.send(replies.CONTINUE)
            self._waits_for_continue = False

    def feed(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._refusal is None and self._hold(len(data)):
            if self._parts is None:
                self._parts = []
            self._parts.append(data)

    def end(self) -> None:
        """Note that the body is complete."""
        self._complete = True
        if self.response_complete:
            self._connection.finished(time.perf_counter(), close=not self.keep_alive)
        elif self._started and self._refusal is None:
            self._read(self._body())

    def give_up(self, refusal: Refusal) -> None:
        """Refuse the request while its body arrives; the rest of the body is thrown away."""
        self._refusal = refusal
        self._release()
        if self._started and not self.response_complete:
            self.refused(refusal)

    def abandon(self, refusal: Refusal) -> None:
        """Refuse the request without waiting for the rest of its body any longer."""
        self.keep_alive = False
        self._complete = True
        self.give_up(refusal)

    def disconnect(self) -> None:
        """Note that the sender has gone; what was pushed stays pushed."""
        self.disconnected = True
        if not (self._started and self._complete):
            self._release()

    def taken(self, depth: int) -> None:
        """Reply that Redis has what was sent; `depth` is the queue's."""
        taken = self._taken
        assert taken is not None  # noqa: S101  (only what was read is pushed)
        if taken.single:
            body = replies.queued_event(taken.accepted[0], depth)
        else:
            if taken.rejected:
                self._door.outcomes.failed("validation", len(taken.rejected), self._door.clock.now())
            body = replies.queued_batch(len(taken.accepted), taken.rejected, depth)
        self._reply(200, body)

    def refused(self, refusal: Refusal) -> None:
        """Reply that nothing was taken, and count each event of the request."""
        taken = self._taken
        events = 1 if taken is None else max(1, len(taken.accepted) + len(taken.rejected))
        self._refuse(refusal, events)

    def _refuse(self, refusal: Refusal, events: int, failure: BaseException | None = None) -> None:
        door, taken = self._door, self._taken
        now = door.clock.now()
        door.outcomes.failed(refusal.reason, events, now)
        door.outcomes.refused(refusal.status, refusal.message, self._connection.sender(), now)
        single = taken.accepted[0] if taken is not None and taken.single else None
        correlation_id = single.correlation_id if single else door.correlation_id(self._head)
        if failure is not None:
            log.error("a request failed within the ingestor", correlation_id=correlation_id, exc_info=failure)
        log.debug("refused", reason=refusal.reason, message=refusal.message, correlation_id=correlation_id)
        self._reply(refusal.status, self._error(refusal, correlation_id), refusal.retry_after)

    def _error(self, refusal: Refusal, correlation_id: str) -> bytes:
        """Return the body of a refusal."""
        return replies.error(refusal.message, correlation_id, **refusal.details)

    def _reply(self, status: int, body: bytes, retry_after: int | None = None) -> None:
        self._release()
        self.response_complete = True
        head = self._head
        if not self._complete and (self._waits_for_continue or head.length is None or head.length > DRAIN_BYTES):
            self.keep_alive = False
        connection = self._connection
        close = not self.keep_alive
        date = connection.date()
        connection.send(replies.response(status, body, date, self.media, head.deprecated, close, retry_after))
        now = time.perf_counter()
        self._door.latency.observe(now - self._began)
        if self._traced is not None:
            self._end_trace(self._traced, status)
        # The connection keeps its last exchange until the next request comes, which may be never.
        self._taken = None
        self.entries = self.quarantine = ()
        if self._complete or self._waits_for_continue:
            connection.finished(now, close=close)

    def _hold(self, size: int) -> bool:
        """Account for bytes of the body; where they are too many, refuse the request and return False."""
        door, peer = self._door, self.peer
        self.size += size
        peer.in_flight += size
        door.in_flight += size
        # Below a half nobody can hold more than is free.
        if door.in_flight > door.half_in_flight and not door.may_hold(peer, self.size):
            self.give_up(door.too_many(peer))
        elif self.size > door.max_body:
            self.give_up(door.too_large())
        else:
            return True
        return False

    def _reckon(self, taken: Taken) -> bool:
        """Account for the entries until Redis has them; where they are too many, refuse the request."""
        door, peer = self._door, self.peer
        size = sum(len(event.entry) for event in taken.accepted) + sum(len(item.quarantine) for item in taken.rejected)
        others = door.in_flight - self.size
        peer.in_flight += size - self.size
        door.in_flight, self.size = others + size, size
        if not others or door.may_hold(peer, size):
            return True
        self._taken = taken
        self.refused(door.too_many(peer, len(taken.accepted) + len(taken.rejected)))
        return False

    def _release(self) -> None:
        size, self.size = self.size, 0
        self._door.in_flight -= size
        self.peer.in_flight -= size
        self._parts = None

    def _body(self) -> bytes:
        parts, self._parts = self._parts or [], None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, body: bytes) -> None:
        head = self._head
        if len(body) <= SMALL_BYTES and not head.coding:
            self.read(body)
            return
        since = time.perf_counter()
        if len(body) > self.inline_bytes or head.coding:
            self.readers.read(self.peer, partial(self._intake, body), self._was_read, partial(self._is_given_up, since))
        else:
            self._door.loop_reader.read(self.peer, partial(self._read_in_turn, body, since))

    def _is_given_up(self, since: float) -> bool:
        """Forget a request whose sender has gone while it waited: it sends again, and this would be for nobody."""
        given_up = self.disconnected and time.perf_counter() - since > LATE_SECONDS
        if given_up:
            self._release()
        return given_up

    def _read_in_turn(self, body: bytes, since: float) -> None:
        if not self._is_given_up(since):
            self.read(body)

    def read(self, body: bytes) -> None:
        """Read a body by itself, here and now."""
        try:
            if not (self._door.room.is_short and self._turned_away(body)):
                self._push(self._intake(body))
        except Exception as error:  # noqa: BLE001  (a process boundary: every failure becomes a reply)
            self._unread(error)

    def _turned_away(self, body: bytes) -> bool:
        """Refuse a request that there is no room for, having read no more of it than how many events it is."""
        door = self._door
        found = door.room.turned_away(self.peer, partial(door.intake.count, body, self._head.content_type))
        if found is not None:
            self._refuse(*found)
        return found is not None

    def _intake(self, body: bytes) -> Taken:
        door, head = self._door, self._head
        receipt = Receipt(door.clock.unix_us(), head.correlation_id, head.traceparent)
        if door.tracing is not None:
            self._traced = door.tracing.request("ingest", head.traceparent, time.perf_counter() - self._began)
            if self._traced is not None:
                receipt.traceparent = self._traced.traceparent
        return self._understand(body, receipt)

    def _understand(self, body: bytes, receipt: Receipt) -> Taken:
        """Return what a body holds; raises RecordError."""
        head = self._head
        return self._door.intake.read(body, head.coding, head.content_type, receipt)

    def _end_trace(self, traced: "Traced", status: int) -> None:
        taken = self._taken
        refused = None if status == HTTPStatus.OK else f"answered {status}"
        events = len(taken.accepted) if taken is not None and refused is None else 0
        traced.end({"http.response.status_code": status, "mutt.events": events}, refused)

    def _was_read(self, reading: Reading) -> None:
        # Not by `result`, which raises: the error would hold this frame, which holds the future, which holds the error,
        # and with them the body until garbage is collected.
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            try:
                taken = reading.result()
                if self._reckon(taken):
                    self._push(taken)
            except Exception as failure:  # noqa: BLE001  (as above)
                self._unread(failure)
        else:
            self._unread(error)

    def _unread(self, error: BaseException) -> None:
        if isinstance(error, RecordError):
            self._refuse(self._refusal_of(error), error.records)
        else:
            self._refuse(INTERNAL, 1, error)

    def _refusal_of(self, error: RecordError) -> Refusal:
        return Refusal(STATUS_OF[error.reason], error.reason, str(error), None, {})

    def _push(self, taken: Taken) -> None:
        self._taken = taken
        if taken.single:
            self.entries = (taken.accepted[0].entry,)
        else:
            self.single = False
            self.entries = [event.entry for event in taken.accepted]
            self.quarantine = [item.quarantine for item in taken.rejected]
        self._door.commit.submit(self)

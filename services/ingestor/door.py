"""What all connections of the ingest route share: keys, limits, the clock, and the way to the queue."""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mutt import shares
from mutt.ids import is_uuid, uuid7
from mutt.intake import Intake, Limits
from mutt.settings import IngestorSettings
from services import tracing_utils
from services.ingestor.auth import KeyRing
from services.ingestor.commit import GroupCommit
from services.ingestor.gathering import Gathering
from services.ingestor.head import Head
from services.ingestor.outcomes import Outcomes
from services.ingestor.peers import Peer
from services.ingestor.readers import LoopReader, Readers
from services.ingestor.replies import QueuedReplies
from services.ingestor.room import RETRY_FULL, Room
from services.ingestor.turns import Refusal
from services.runtime.app import Process
from services.runtime.instruments import IngestorInstruments

READERS = 2  # threads: they share one interpreter with the event loop, so that more would only slow it down


class Clock:
    """This machine's clock, or Redis's where this one is an hour wrong; `offset_us` is subtracted."""

    def __init__(self, nanoseconds: Callable[[], int] = time.time_ns) -> None:
        self._nanoseconds = nanoseconds
        self.offset_us = 0

    def own_us(self) -> int:
        """Return microseconds of the epoch by this machine's clock."""
        return self._nanoseconds() // 1000

    def unix_us(self) -> int:
        """Return microseconds of the epoch by the clock that counts."""
        return self._nanoseconds() // 1000 - self.offset_us

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self.unix_us() / 1_000_000, UTC)


class Door:
    """Shared by all connections; `in_flight` is the bytes of bodies that are held."""

    def __init__(
        self,
        process: Process[IngestorSettings, IngestorInstruments],
        keys: KeyRing,
        clock: Clock,
        commit: GroupCommit,
        outcomes: Outcomes,
        *,
        room: Room,
    ) -> None:
        settings = process.settings
        self.settings = settings
        self.keys = keys
        self.clock = clock
        self.commit = commit
        self.outcomes = outcomes
        self.room = room
        self.peers = room.peers
        self.loop_reader = LoopReader(self.peers)
        # The doors for other protocols have their own: whoever sends the costliest bodies must not hold up the rest.
        self.readers = Readers(READERS, "read", self.peers)
        self.foreign_readers = Readers(READERS, "read-foreign", self.peers)
        self.queued = QueuedReplies()
        self.latency = process.instruments.latency
        self.tracing = tracing_utils.active()
        self.in_flight = 0
        process.instruments.in_flight.set_function(lambda: self.in_flight)
        self.max_in_flight = settings.max_in_flight_bytes
        self.half_in_flight = self.max_in_flight // 2
        self.max_body = settings.max_body_bytes
        self.intake = Intake(
            settings.required_message_fields,
            Limits(settings.max_body_bytes, settings.max_records, settings.max_event_bytes, settings.max_json_depth),
            os.urandom,
        )
        self.gathering = Gathering(
            self.intake.read_alone,
            commit.submit,
            clock.unix_us,
            lambda: self.tracing is None and not room.is_short,
        )

    def correlation_id(self, head: Head) -> str:
        """Return the id for a reply about no event: the sender's, or a new one."""
        sent = head.correlation_id
        return sent.lower() if is_uuid(sent) else uuid7(self.clock.unix_us() // 1000, os.urandom(10))

    def judge(self, head: Head) -> Refusal | None:
        """Say why a request is refused before its body is read; None where it is not."""
        if not self.keys.admits(head.headers):
            problem = "a valid key is needed: X-API-KEY, or Authorization with Bearer, Splunk or Basic (as password)"
            return _refusal(401, "auth", problem)
        if head.length is not None and head.length > self.max_body:
            return self.too_large()
        return None

    def may_hold(self, peer: Peer, size: int) -> bool:
        """Say whether a peer may go on with a request of so many bytes, which are counted already."""
        self.peers.asked(peer)
        # What it holds beside this request is what counts: else a large one might never find room.
        return shares.may_hold(peer.in_flight - size, self.in_flight, self.max_in_flight, self.peers.active)

    def too_many(self, peer: Peer, events: int = 1) -> Refusal:
        """Return the refusal of a body that no memory is left for; how many events it has may not be known yet."""
        if self.in_flight > self.max_in_flight:
            problem = f"over {self.max_in_flight} bytes of requests are under way; try again later"
        else:
            self.peers.refused(peer, events)
            problem = f"{peer.in_flight} bytes of this sender's requests are under way, its share; try again later"
        return Refusal(503, "queue_full", problem, random.randint(*RETRY_FULL), {})

    def too_large(self) -> Refusal:
        """Return the refusal of a body over the limit."""
        return _refusal(413, "too_large", f"a body may have {self.max_body} bytes at most")

    def too_slow(self) -> Refusal:
        """Return the refusal of a body that did not arrive in time."""
        return _refusal(408, "json", f"the body did not arrive within {self.settings.body_timeout:g} seconds")


def _refusal(status: int, reason: str, message: str) -> Refusal:
    return Refusal(status, reason, message, None, {})

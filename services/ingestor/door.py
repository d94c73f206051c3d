"""What all connections of the ingest route share: keys, limits, the clock, and the way to the queue."""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mutt.ids import is_uuid, uuid7
from mutt.intake import Intake, Limits, Receipt
from mutt.settings import IngestorSettings
from services import tracing_utils
from services.ingestor.auth import KeyRing
from services.ingestor.commit import RETRY_FULL, GroupCommit, Refusal
from services.ingestor.head import Head
from services.ingestor.outcomes import Outcomes
from services.runtime.app import Process
from services.runtime.instruments import IngestorInstruments


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
    ) -> None:
        settings = process.settings
        self.settings = settings
        self.keys = keys
        self.clock = clock
        self.commit = commit
        self.outcomes = outcomes
        self.latency = process.instruments.latency
        self.tracing = tracing_utils.active()
        self.in_flight = 0
        self.max_in_flight = settings.max_in_flight_bytes
        self.max_body = settings.max_body_bytes
        self.intake = Intake(
            settings.required_message_fields,
            Limits(settings.max_body_bytes, settings.max_records, settings.max_event_bytes, settings.max_json_depth),
            os.urandom,
        )

    def receipt(self, head: Head) -> Receipt:
        """Return what is known of a request whose body is complete now."""
        return Receipt(self.clock.unix_us(), head.correlation_id, head.traceparent)

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

    def too_many(self) -> Refusal:
        """Return the refusal of a body that no memory is left for."""
        problem = f"over {self.max_in_flight} bytes of requests are under way; try again later"
        return Refusal(503, "queue_full", problem, random.randint(*RETRY_FULL), {})

    def too_large(self) -> Refusal:
        """Return the refusal of a body over the limit."""
        return _refusal(413, "too_large", f"a body may have {self.max_body} bytes at most")

    def too_slow(self) -> Refusal:
        """Return the refusal of a body that did not arrive in time."""
        return _refusal(408, "json", f"the body did not arrive within {self.settings.body_timeout:g} seconds")


def _refusal(status: int, reason: str, message: str) -> Refusal:
    return Refusal(status, reason, message, None, {})

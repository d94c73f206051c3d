"""What all connections of the ingest route share: keys, limits, the clock, and the way to the queue."""

import os
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mutt.ids import is_uuid, uuid7
from mutt.intake import Intake, Limits, Receipt
from mutt.settings import IngestorSettings
from services.ingestor.auth import KeyRing
from services.ingestor.commit import RETRY_FULL, GroupCommit, Refusal
from services.ingestor.outcomes import Outcomes
from services.runtime.app import Process
from services.runtime.instruments import IngestorInstruments

TRACEPARENT_CHARACTERS = 55


class Clock:
    """This machine's clock, or Redis's where this one is an hour wrong; `offset_us` is subtracted."""

    def __init__(self) -> None:
        self.offset_us = 0

    def unix_us(self) -> int:
        """Return microseconds of the epoch."""
        return time.time_ns() // 1000 - self.offset_us

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
        self.in_flight = 0
        self.intake = Intake(
            settings.required_message_fields,
            Limits(settings.max_body_bytes, settings.max_records, settings.max_event_bytes, settings.max_json_depth),
            os.urandom,
        )

    def receipt(self, headers: Mapping[bytes, bytes]) -> Receipt:
        """Return what is known of a request whose body is complete now."""
        correlation_id = headers.get(b"x-correlation-id")
        trace = headers.get(b"traceparent")
        return Receipt(
            self.clock.unix_us(),
            None if correlation_id is None else correlation_id.decode("latin-1").strip(),
            None if trace is None or len(trace) != TRACEPARENT_CHARACTERS else trace.decode("latin-1"),
        )

    def correlation_id(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the id for a reply about no event: the sender's, or a new one."""
        sent = headers.get(b"x-correlation-id", b"").decode("latin-1").strip()
        return sent.lower() if is_uuid(sent) else uuid7(self.clock.unix_us() // 1000, os.urandom(10))

    def check_headers(self, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Say why a request is refused before its body is read; None where it is not."""
        if not self.keys.admits(headers):
            problem = "a valid key is needed: X-API-KEY, or Authorization with Bearer, Splunk or Basic (as password)"
            return _refusal(401, "auth", problem)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.settings.max_body_bytes:
            return self.too_large()
        return None

    def hold(self, size: int) -> Refusal | None:
        """Account for bytes of a body that arrived; say why where they are too many in all."""
        self.in_flight += size
        if self.in_flight > self.settings.max_in_flight_bytes:
            problem = f"over {self.settings.max_in_flight_bytes} bytes of requests are under way; try again later"
            return Refusal(503, "queue_full", problem, random.randint(*RETRY_FULL), {})
        return None

    def too_large(self) -> Refusal:
        """Return the refusal of a body over the limit."""
        return _refusal(413, "too_large", f"a body may have {self.settings.max_body_bytes} bytes at most")

    def too_slow(self) -> Refusal:
        """Return the refusal of a body that did not arrive in time."""
        return _refusal(408, "json", f"the body did not arrive within {self.settings.body_timeout:g} seconds")


def _refusal(status: int, reason: str, message: str, **details: Any) -> Refusal:
    return Refusal(status, reason, message, None, details)

"""Queue entries as the ingestor makes them, for tests that begin behind it."""

import os
from datetime import UTC, datetime
from typing import Any

import msgspec

from mutt.envelope import VERSION
from mutt.events import iso
from mutt.ids import uuid7


def queue_entry(message: str = "test message", hostname: str = "router1.example", **fields: Any) -> tuple[str, bytes]:
    """Return `(event_id, entry)` of a new event."""
    now = datetime.now(UTC)
    event_id = uuid7(int(now.timestamp() * 1000), os.urandom(10))
    event = {"correlation_id": event_id, "timestamp": iso(now), "message": message, "hostname": hostname, **fields}
    mutt = {"v": VERSION, "event_id": event_id, "received_at": iso(now), "event_timestamp": iso(now)}
    return event_id, msgspec.json.encode({"_mutt": mutt, **event})

"""Dead letters as alerters and forwarders leave them, for the tests of what becomes of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from mutt.envelope import failed
from mutt.events import decided_entry
from mutt.fields import iso


def event(message: str, **members: Any) -> bytes:
    """Return an entry of the ingest queue."""
    at, event_id = iso(datetime.now(UTC)), str(uuid4())
    mutt = {"v": 1, "event_id": event_id, "received_at": at, "event_timestamp": at, **members}
    fields = {"correlation_id": event_id, "message": message, "hostname": "web1.example", "timestamp": at}
    return json.dumps({"_mutt": mutt, **fields}, separators=(",", ":")).encode()


def dead(message: str, age: float = 0, **members: Any) -> bytes:
    """Return a dead letter of the alerter that died `age` seconds ago."""
    at = iso(datetime.now(UTC) - timedelta(seconds=age))
    return failed(event(message, **members), error_type="test", message="refused", at=at, retry_count=4)


def dead_alert(message: str, age: float = 0, **members: Any) -> bytes:
    """Return a dead letter of the forwarder."""
    return decided_entry(
        dead(message, age, **members),
        handling="Page_and_ticket",
        team="NETO",
        rule_id=1,
        rule_version=1,
        environment="prod",
    )


def shed(message: str) -> bytes:
    """Return an event that backpressure moved aside."""
    return event(message, shedding_reason="the alert queue is full")


def mutt_of(entry: bytes) -> dict[str, Any]:
    """Return MUTT's own members of an entry."""
    found: dict[str, Any] = json.loads(entry)["_mutt"]
    return found


def message_of(entry: bytes) -> str:
    """Return the message of an event or an alert."""
    document = json.loads(entry)
    return str(document.get("event", document)["message"])

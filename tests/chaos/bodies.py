"""Bodies as senders make them: single events, arrays, lines, gzip, Splunk's and OpenTelemetry's, with bad records."""

import gzip
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.harness.otlp import as_protobuf

Event = dict[str, Any]

INGEST, HEC, OTLP = "/api/v2/ingest", "/services/collector/event", "/v1/logs"
MOST = 40  # events of a batch
BAD_SHARE = 0.15  # of the batches of a form that takes bad records along
# The forms of a body, and their shares. A release before the doors of Splunk and OpenTelemetry takes the plain ones.
PLAIN: Mapping[str, int] = {"single": 4, "array": 2, "lines": 2}
EVERY: Mapping[str, int] = {"single": 6, "array": 3, "lines": 3, "gzip": 3, "hec": 2, "otlp": 1, "otlp-protobuf": 1}
DOORS = (HEC, OTLP)


@dataclass(frozen=True)
class Body:
    """A body with the events that it holds; `bad` are marks, each in one record that has to be rejected."""

    events: list[Event]
    data: bytes
    path: str = INGEST
    headers: Mapping[str, str] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)


def make_body(form: str, events: list[Event], chance: random.Random) -> Body:
    """Put events into a body of a form; a batch takes a bad record along at times."""
    if form == "single":
        return Body(events[:1], json.dumps(events[0]).encode())
    if form == "otlp":
        return Body(events, json.dumps(_otlp(events)).encode(), OTLP, {"Content-Type": "application/json"})
    if form == "otlp-protobuf":
        return Body(events, as_protobuf(_otlp(events)), OTLP, {"Content-Type": "application/x-protobuf"})
    bad = [f"bad-{UUID(int=chance.getrandbits(128), version=4)}"] if chance.random() < BAD_SHARE else []
    if form == "hec":
        records = [{"event": event, "host": event["hostname"]} for event in events]
        blanks = [{"event": "", "fields": {"mark": mark}} for mark in bad]
        return Body(events, b"".join(json.dumps(record).encode() for record in [*blanks, *records]), HEC, {}, bad)
    return _batch(form, [*({"message": mark} for mark in bad), *events], events, bad)


def _batch(form: str, records: list[Event], events: list[Event], bad: list[str]) -> Body:
    if form == "lines":
        return Body(events, b"".join(json.dumps(record).encode() + b"\n" for record in records), INGEST, {}, bad)
    data = json.dumps(records).encode()
    if form == "gzip":
        # Without the time of its making: a body is the same bytes each time it is sent.
        return Body(events, gzip.compress(data, mtime=0), INGEST, {"Content-Encoding": "gzip"}, bad)
    return Body(events, data, INGEST, {}, bad)


def accepted_of(body: Body, document: dict[str, Any]) -> int:
    """Return how many events a reply of 200 says were taken; other protocols say so only where some were not."""
    if body.path == OTLP:
        return len(body.events) - int(document.get("partialSuccess", {}).get("rejectedLogRecords", 0))
    return int(document.get("accepted", len(body.events)))


def _otlp(events: list[Event]) -> dict[str, Any]:
    records = [
        {
            "timeUnixNano": f"{int(datetime.fromisoformat(event['timestamp']).timestamp() * 1000)}000000",
            "body": {"stringValue": event["message"]},
            "attributes": [_text("correlation_id", event["correlation_id"]), _text("hostname", event["hostname"])],
        }
        for event in events
    ]
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]}


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}

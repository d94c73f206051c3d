"""The ingestor's path: events and rejected records of senders who repeat what was not acknowledged."""

import json
import signal
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import uuid4

import requests

from mutt import keys
from tests.chaos.crash_path import NAMES, Path, entries
from tests.chaos.crash_stage import Victim
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.waiting import wait_for

TIMEOUT = 5.0


class Ingest(Path):
    """Singles and batches; then SIGTERM, so that what was counted is told."""

    name = "ingest"
    victim = "ingestor"
    environment: ClassVar[dict[str, str]] = {"DYNAMIC_CONFIG_ENABLED": "true"}

    def prepare(self) -> None:
        """Make the bodies."""
        self.sent: Counter[str] = Counter()  # how often each correlation id was sent
        self.acknowledged: set[str] = set()
        self.rejected: Counter[str] = Counter()  # marks of records that a sender was told were rejected
        self.bodies: list[list[dict[str, Any]]] = [[self._event()] for _ in range(2)]
        for number in range(2):
            self.bodies.append([self._event(), {"message": f"rejected {number}"}, self._event()])

    def _event(self) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat()
        return {"timestamp": at, "hostname": "host1", "message": "LOG", "correlation_id": str(uuid4())}

    def live(self, victim: Victim) -> bool:
        """Send all, a wrong key too, then stop it."""
        if not self.stage.wait_healthy(victim):
            return False
        while self.bodies:
            if not self._post(victim, self.bodies[0]):
                return False
            self.bodies.pop(0)
        self._call(victim, b"{}", "a wrong key")
        if not self.stage.wait(lambda: bool(self.stage.redis.keys("mutt:slo:ingestor:fail:*")), victim):
            return False
        seen = self.steps - {step for step in self.steps if "leave" in step}
        if not self.stage.wait(lambda: seen <= self.seen(), victim):
            return False
        victim.signal(signal.SIGTERM)
        return victim.ends()

    def _post(self, victim: Victim, events: list[dict[str, Any]]) -> bool:
        body = json.dumps(events[0] if len(events) == 1 else events).encode()
        self.sent.update(event["correlation_id"] for event in events if "correlation_id" in event)
        reply = self._call(victim, body, INGEST_API_KEY)
        if reply is None:
            wait_for(lambda: not victim.running, "the end of an ingestor that does not answer")
            return False
        assert reply.status_code == 200, reply.text
        self.acknowledged.update(event["correlation_id"] for event in events if "correlation_id" in event)
        self.rejected.update(event["message"] for event in events if "correlation_id" not in event)
        return True

    def _call(self, victim: Victim, body: bytes, key: str) -> requests.Response | None:
        try:
            return requests.post(f"{victim.url}/api/v2/ingest", body, headers={"X-API-KEY": key}, timeout=TIMEOUT)
        except requests.RequestException:
            return None

    def faults(self) -> Iterable[str]:
        """Compare the queue with what was acknowledged: all of it, under one id each, and nothing unasked for."""
        queued = entries(self.stage, NAMES.ingest_queue)
        times = Counter(entry["correlation_id"] for entry in queued)
        if lost := self.acknowledged - times.keys():
            yield f"{len(lost)} acknowledged events are not queued"
        if more := {each for each, number in times.items() if number > self.sent[each]}:
            yield f"{len(more)} events are queued more often than they were sent"
        for identity in times:
            found = {entry["_mutt"]["event_id"] for entry in queued if entry["correlation_id"] == identity}
            if len(found) != 1:
                yield f"a resend of {identity} has another event id"
        kept = Counter(json.loads(each["raw"])["message"] for each in entries(self.stage, keys.QUARANTINE))
        if missing := self.rejected - kept:
            yield f"{missing.total()} rejected records are not in quarantine"


PATHS = (Ingest,)

"""The ingestor's doors for other protocols as their tests speak to them."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import requests

from mutt.events import QueuedEvent
from scripts.devtools.embedded import RedisServer
from scripts.devtools.services import HOST, redis_environment
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import ServiceProcess, find_service
from tests.harness.waiting import wait_for
from tests.service.ingest_api import QUARANTINE, QUEUE, queued

SPLUNK = {"Authorization": f"Splunk {INGEST_API_KEY}"}
BASIC = {"Authorization": "Basic " + base64.b64encode(f"x:{INGEST_API_KEY}".encode()).decode()}
BODY_TIMEOUT = "3"  # seconds; a busy machine may need one between a head and its body


@dataclass
class Doors:
    """An ingestor with small limits, on a Redis of its own."""

    server: RedisServer
    ingestor: ServiceProcess

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        """Send bytes as they are."""
        sent = SPLUNK if headers is None else headers
        return requests.post(self.ingestor.url + path, data=body, headers=sent, timeout=60, **more)

    def get(self, path: str) -> requests.Response:
        """Ask without a key."""
        return requests.get(self.ingestor.url + path, timeout=60)

    def events(self) -> list[QueuedEvent]:
        """Return the events of the queue, oldest first, and empty it."""
        found = queued(self.server.url)
        self.clear()
        return found

    def quarantined(self) -> int:
        """Return how many records are in quarantine."""
        with redis.Redis.from_url(self.server.url) as client:
            return int(client.llen(QUARANTINE))

    def clear(self) -> None:
        """Empty queue and quarantine."""
        with redis.Redis.from_url(self.server.url) as client:
            client.delete(QUEUE, QUARANTINE)

    def counted(self, reason: str) -> float:
        """Return the events counted under a reason, which is empty for those accepted."""
        status = "fail" if reason else "success"
        return self.ingestor.metric("mutt_ingest_requests_total", status=status, reason=reason) or 0

    @contextmanager
    def without_redis(self) -> Iterator[None]:
        """Take Redis away."""
        self.server.kill()
        try:
            yield
        finally:
            self.server.start()
            self.ingestor.wait_healthy()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let the queue be at its cap."""
        with redis.Redis.from_url(self.server.url) as client:
            client.lpush(QUEUE, *[b"{}"] * int(self.ingestor.environment["MAX_INGEST_QUEUE_SIZE"]))
            try:
                yield
            finally:
                client.delete(QUEUE)


@contextmanager
def open_doors(folder: Path) -> Iterator[Doors]:
    """Run the ingestor and its Redis."""
    server = RedisServer(folder / "doors-redis")
    server.start()
    environment = {
        **redis_environment(server.url),
        "INGEST_API_KEY": INGEST_API_KEY,
        "MUTT_BIND_HOST": HOST,
        "MAX_INGEST_QUEUE_SIZE": "200",
        "INGEST_MAX_BODY_BYTES": "200000",
        "INGEST_MAX_EVENT_BYTES": "4000",
        "INGEST_MAX_RECORDS": "150",
        "INGEST_MAX_IN_FLIGHT_BYTES": "600000",
        "INGEST_BODY_TIMEOUT": BODY_TIMEOUT,
        "REDIS_TIMEOUT": "2",
    }
    ingestor = ServiceProcess(find_service("ingestor"), environment, folder / "doors.log")
    try:
        ingestor.start()
        yield Doors(server, ingestor)
    finally:
        ingestor.close()
        server.stop()


def wait_answer(doors: Doors, path: str, status: int) -> requests.Response:
    """Ask until the answer has a status, and return it."""
    found: list[requests.Response] = []

    def look() -> bool:
        found[:] = [doors.get(path)]
        return found[0].status_code == status

    wait_for(look, f"{status} of {path}")
    return found[0]

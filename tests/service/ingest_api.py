"""The ingest route as its tests speak to it, and what it leaves in Redis."""

import json
import socket
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import redis
import requests

from mutt import keys
from mutt.events import QueuedEvent, decode_entry
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import ServiceProcess

QUEUE = "mutt:ingest_queue"
QUARANTINE = "mutt:quarantine:ingest"
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"


def event(**changes: Any) -> dict[str, Any]:
    """Return a valid event of this moment, with changes."""
    return {"timestamp": datetime.now(UTC).isoformat(), "message": "link down", "hostname": "sw1", **changes}


def post(
    service: ServiceProcess,
    body: Any,
    *,
    path: str = "/api/v2/ingest",
    key: str | None = INGEST_API_KEY,
    headers: dict[str, str] | None = None,
    timeout: float = 60,
) -> requests.Response:
    """Send bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"X-API-KEY": key} if key is not None else {}
    return requests.post(service.url + path, data=data, headers={**sent, **(headers or {})}, timeout=timeout)


def refused(reply: requests.Response, status: int) -> dict[str, Any]:
    """Return an error's body once its status and shape are right."""
    assert reply.status_code == status, reply.text
    body: dict[str, Any] = reply.json()
    assert body["status"] == "error"
    assert body["message"]
    assert len(body["correlation_id"]) == 36
    assert reply.headers["X-API-Version"] == "v2.5"
    return body


def queued(url: str) -> list[QueuedEvent]:
    """Return the events of the ingest queue, oldest first."""
    with redis.Redis.from_url(url) as client:
        entries: Any = client.lrange(QUEUE, 0, -1)
    return [decode_entry(entry) for entry in reversed(entries)]


def counted(service: ServiceProcess, reason: str) -> float:
    """Return the events counted under a reason, which is empty for those accepted."""
    value = service.metric("mutt_ingest_requests_total", status="fail" if reason else "success", reason=reason)
    assert value is not None
    return value


class Wire:
    """A connection spoken to byte by byte, from one of the loopback's addresses."""

    def __init__(self, service: ServiceProcess, source: str = "") -> None:
        parts = urlsplit(service.url)
        assert parts.hostname
        assert parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), 60, (source, 0))
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._socket):
            self._reader.close()

    def patience(self, seconds: float) -> None:
        """Wait no longer than this for the other side."""
        self._socket.settimeout(seconds)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def read(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower-case names) and body of the next reply; fails when there is none."""
        status_line = self._reader.readline()
        assert status_line, "the connection was closed instead of a reply"
        headers = {}
        while (line := self._reader.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        body = self._reader.read(int(headers.get("content-length", 0)))
        return int(status_line.split()[1]), headers, body

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False when something else comes."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True


def request(body: bytes, *headers: str, path: str = "/api/v2/ingest", key: str | None = INGEST_API_KEY) -> bytes:
    """Return the bytes of a POST; a Content-Length is added unless `headers` hold a framing of their own."""
    lines = [f"POST {path} HTTP/1.1", "Host: ingest", *headers]
    if key is not None:
        lines.append(f"X-API-KEY: {key}")
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def slo_count(client: Any, outcome: str, since: datetime) -> int:
    """Return what the service level's counters of the hours since then hold, which may be two hours by now."""
    counters = {keys.slo("ingestor", outcome, moment) for moment in (since, datetime.now(UTC))}
    return sum(int(client.get(key) or 0) for key in counters)

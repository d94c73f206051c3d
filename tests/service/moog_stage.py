"""The stage of the forwarder's tests: Redis as an operator sees it, and a Moogsoft that answers as a test decides."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from mutt import keys
from mutt.events import decided_entry
from tests.harness.entries import queue_entry
from tests.harness.waiting import wait_for

QUICK: dict[str, Any] = {"MOOG_RETRY_BASE_DELAY": "0.05", "MOOG_RETRY_MAX_DELAY": "0.2", "MOOG_RATE_LIMIT": "1000"}
PATIENT: dict[str, Any] = {**QUICK, "MOOG_CIRCUIT_THRESHOLD": "1000"}
LONG_OPEN = {"MOOG_CIRCUIT_OPEN_SECONDS": "600"}  # for a test that decides itself when the time is over
TLS_FOLDER = Path(__file__).parent / "tls"  # of nobody but these tests, for 127.0.0.1
ALERTS, DEAD = "mutt:alert_queue", "mutt:dlq:moog"


class Stage:
    """The forwarder's queues."""

    def __init__(self, redis_url: str) -> None:
        self.redis = Redis.from_url(redis_url)

    def send(self, *messages: str, rule_id: int | None = 1, **fields: Any) -> list[str]:
        """Queue an alert a message, in this order, and return their event ids."""
        made = [alert(message, rule_id=rule_id, **fields) for message in messages]
        self.redis.lpush(ALERTS, *(entry for _, entry in made))
        return [event_id for event_id, _ in made]

    def dead(self) -> list[dict[str, Any]]:
        """Return the dead letters, newest first."""
        return [msgspec.json.decode(entry) for entry in self.redis.lrange(DEAD, 0, -1)]

    def queued(self) -> list[str]:
        """Return the messages of the alert queue, the next to be claimed first."""
        entries = self.redis.lrange(ALERTS, 0, -1)
        return [msgspec.json.decode(entry)["event"]["message"] for entry in reversed(entries)]

    def waiting(self) -> list[tuple[dict[str, Any], float]]:
        """Return what waits for a retry, with its due time in epoch milliseconds."""
        found: Any = self.redis.zrange(keys.RETRY_MOOG, 0, -1, withscores=True)
        return [(msgspec.json.decode(member[36:]), due) for member, due in found]

    def held(self) -> int:
        """Return how many entries lie in processing lists."""
        lists = self.redis.scan_iter("mutt:processing:moog:*")
        return sum(int(self.redis.llen(key)) for key in lists)

    def is_empty(self) -> bool:
        """Tell whether nothing waits, is held, or is dead."""
        return not (self.redis.exists(ALERTS, DEAD, keys.RETRY_MOOG) or self.held())

    def state(self) -> str:
        """Return the circuit's state."""
        return (self.redis.get(keys.CIRCUIT_STATE) or b"CLOSED").decode()  # type: ignore[union-attr]

    def let_open_time_pass(self) -> None:
        """Let the time be over for which the circuit, opened by a forwarder of `LONG_OPEN`, stays open."""
        opened: Any = self.redis.get(keys.CIRCUIT_OPENED_AT)
        self.redis.set(keys.CIRCUIT_OPENED_AT, float(opened) - float(LONG_OPEN["MOOG_CIRCUIT_OPEN_SECONDS"]))


def alert(message: str, *, rule_id: int | None = 1, **fields: Any) -> tuple[str, bytes]:
    """Return `(event_id, entry)` of an alert."""
    event_id, entry = queue_entry(message, **fields)
    return event_id, decided_entry(
        entry,
        handling="Page_and_ticket",
        team="NETO",
        rule_id=rule_id,
        rule_version=1,
        environment="prod",
    )


@dataclass
class Reply:
    """What a request is answered with; `until` holds it back."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    until: threading.Event | None = None


@dataclass
class Request:
    """A request as it came; `alerts` are those of its body, `at` is monotonic."""

    headers: dict[str, str]
    body: bytes
    alerts: list[dict[str, Any]]
    at: float
    status: int = 0

    @property
    def messages(self) -> list[str]:
        return [one["description"] for one in self.alerts]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Moogsoft:
    """A webhook on the loopback that asks `answer` for each request's reply and keeps what it got."""

    def __init__(self, *, tls: bool = False, chain: Path = TLS_FOLDER / "loopback.pem") -> None:
        self.answer: Callable[[Request], Reply] = lambda _request: Reply()
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}/events"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def delivered(self) -> list[str]:
        """The messages of all alerts that were answered with 2xx, in the order of the answers."""
        done = [request for request in self.requests if 200 <= request.status < 300]
        return [message for request in done for message in request.messages]

    def ids(self) -> list[str]:
        """Return the external ids of the delivered alerts."""
        done = [request for request in self.requests if 200 <= request.status < 300]
        return [one["external_id"] for request in done for one in request.alerts]

    def wait_delivered(self, count: int, timeout: float = 45.0) -> list[str]:
        """Wait until so many alerts were delivered and return their messages."""
        wait_for(lambda: len(self.delivered) >= count, f"{count} alerts delivered, not {self.delivered}", timeout)
        return self.delivered

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        moogsoft = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                request = Request(dict(self.headers), raw, body.get("events", [body]), time.monotonic())
                reply = moogsoft.answer(request)
                moogsoft.requests.append(request)
                if reply.until is not None:
                    reply.until.wait(90)
                request.status = reply.status
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                with suppress(OSError):  # a forwarder that was killed waits for no answer
                    self.end_headers()
                    self.wfile.write(reply.body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler


def to(moogsoft: Moogsoft, **more: str) -> dict[str, Any]:
    """Return the variables of a forwarder that sends there and has patience."""
    return {**PATIENT, "MOOG_WEBHOOK_URL": moogsoft.url, **more}

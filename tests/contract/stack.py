"""The five services on real servers, for the tests that ask the running ones."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import redis

from scripts.devtools.embedded import RedisServer
from scripts.devtools.services import HOST, Service, database_environment, redis_environment
from tests.contract.sheet import SERVICES
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Nursery
from tests.harness.processes import ServiceProcess, find_service
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases

POD = "contract"
PAGE, LOG, UNMATCHED = "CONTRACT-PAGE", "CONTRACT-LOG", "CONTRACT-UNMATCHED"
KEYS = {"ingestor": INGEST_API_KEY, "webui": WEBUI_API_KEY}
# What waits for minutes by default must not make a test wait; everything else is the default.
SHORT = {
    "DYNAMIC_CONFIG_ENABLED": "true",
    "ALERTER_DATABASE_GRACE": "0.3",
    "BRPOPLPUSH_TIMEOUT": "1",
    "MOOG_RETRY_BASE_DELAY": "0.5",
    "MOOG_CIRCUIT_OPEN_SECONDS": "0.5",
    "REMEDIATION_SCAN_INTERVAL": "0.2",
    "REMEDIATION_BACKOFF_BASE": "0",
}
RULES = (
    "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment) VALUES "
    f"('{PAGE}', 'contains', 900, 'Page_and_ticket', 'Ticket_only', 'NETO'), "
    f"('{LOG}', 'contains', 800, 'Log_only', 'Log_only', 'NETO')"
)


@dataclass(frozen=True)
class Reply:
    """An HTTP reply; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


@dataclass
class Stack:
    """Servers, stand-in and services; the alerter reaches PostgreSQL through `database_proxy`."""

    redis_server: RedisServer
    database_url: str
    database_proxy: Proxy
    moogsoft: MoogStandIn
    services: dict[str, ServiceProcess] = field(default_factory=dict)

    @property
    def redis(self) -> "redis.Redis":
        """A client that returns raw bytes."""
        return redis.Redis.from_url(self.redis_server.url)

    def request(  # noqa: PLR0917  (in the order of a request line)
        self,
        service: str,
        port: str,
        method: str,
        path: str,
        body: Any = None,
        key: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask a service on one of its ports ("http", "metrics", "health")."""
        connection = http.client.HTTPConnection(HOST, self.services[service].ports[port], timeout=60)
        sent = {"Content-Type": "application/json", **({"X-API-KEY": key} if key else {}), **(headers or {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, found, reply.read().decode())
        finally:
            connection.close()

    def post(self, *messages: str) -> Reply:
        """Send one event for each message, as one object or as an array."""
        made = [event(message) for message in messages]
        body = made[0] if len(made) == 1 else made
        return self.request("ingestor", "http", "POST", "/api/v2/ingest", body, INGEST_API_KEY)


def event(message: str) -> dict[str, Any]:
    """Return an event's fields."""
    return {"timestamp": datetime.now(UTC).isoformat(), "hostname": "contract.example", "message": message}


def environment(redis_url: str, database_url: str, moogsoft: str) -> dict[str, str]:
    """Return what all five services are started with."""
    return {
        **redis_environment(redis_url),
        **database_environment(database_url),
        "INGEST_API_KEY": INGEST_API_KEY,
        "WEBUI_API_KEY": WEBUI_API_KEY,
        "MOOG_API_KEY": MOOG_API_KEY,
        "MOOG_WEBHOOK_URL": moogsoft,
        "MUTT_BIND_HOST": HOST,
        "POD_NAME": POD,
    }


@contextmanager
def running(
    folder: Path,
    databases: Databases,
    changes: Mapping[str, str],
    *,
    beside: Callable[[Stack], None] = lambda _stack: None,
    nurseries: Callable[[Service], Nursery | None] = lambda _service: None,
) -> Iterator[Stack]:
    """Start servers, `beside` and services, wait until all are healthy, and end them."""
    server, moogsoft = RedisServer(folder / "redis"), MoogStandIn(folder, MOOG_API_KEY)
    database_url = databases.create()
    with psycopg.connect(database_url) as connection:
        connection.execute(RULES.encode())
    proxy = Proxy(database_url)
    stack = Stack(server, database_url, proxy, moogsoft)
    try:
        server.start()
        moogsoft.start()
        environ = environment(server.url, database_url, moogsoft.events_url) | dict(changes)
        for name in SERVICES:
            through_proxy = {"DB_PORT": str(proxy.port)} if name == "alerter" else {}
            kind, log = find_service(name), folder / f"{name}.log"
            stack.services[name] = ServiceProcess(kind, environ | through_proxy, log, nurseries(kind))
        beside(stack)
        for service in stack.services.values():
            service.start(wait=False)
        for service in stack.services.values():
            service.wait_healthy()
        yield stack
    finally:
        for service in stack.services.values():
            service.close()
        proxy.__exit__(None, None, None)
        moogsoft.kill()
        server.stop()
        databases.drop(database_url)

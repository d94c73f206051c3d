"""SIGTERM ends a service within its grace and a moment, whatever its servers and its clients do meanwhile."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.devtools.embedded import PostgresServer
from scripts.devtools.services import HOST, SERVICES
from services.web_ui.assets import static
from tests.harness.entries import queue_entry
from tests.harness.processes import StartService
from tests.harness.proxy import Proxy
from tests.harness.waiting import wait_for
from tests.service.trail import Trail

SOON = 25.0  # seconds: far more than a stop takes on a busy machine, far less than what it must not wait for


def test_an_alerter_that_holds_all_it_can_does_not_wait_for_postgresql(
    own_postgres: PostgresServer, trail: Trail, start_service: StartService
) -> None:
    alerter = start_service(
        "alerter", ALERTER_BATCH_SIZE="1", ALERTER_DATABASE_GRACE="600", MUTT_SHUTDOWN_GRACE="0.2", POD_NAME="full"
    )
    own_postgres.stop()
    trail.send(*(queue_entry()[1] for _ in range(5)))
    # One is being audited, one waits behind it, and the claim of the third waits for its place.
    wait_for(lambda: trail.length("mutt:processing:alerter:full") == 3, "three batches")
    assert alerter.terminate(timeout=SOON) == 0
    assert trail.nothing_is_held()
    own_postgres.start()


@pytest.mark.parametrize(("name", "path"), [("alerter", "/metrics"), ("webui", static("css/parts.css"))])
def test_a_client_that_takes_no_answer_holds_up_no_stop(name: str, path: str, start_service: StartService) -> None:
    service = start_service(name, MUTT_SHUTDOWN_GRACE="0.2")
    port = int(service.metrics_url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((HOST, port))
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: mutt\r\n\r\n".encode() * 2000)
        wait_for(_is_stuck(line), "answers that have no place left anywhere")
        assert service.terminate(timeout=SOON) == 0


def test_servers_that_hang_hold_up_no_stop(
    proxy: Callable[[str], Proxy], redis_url: str, database_url: str, start_service: StartService
) -> None:
    redis, database = proxy(redis_url), proxy(database_url)
    ports = {"REDIS_PORT": str(redis.port), "DB_PORT": str(database.port)}
    services = [start_service(name, wait=True, MUTT_SHUTDOWN_GRACE="0.2", **ports) for name in SERVICES]
    redis.hang()
    database.hang()
    for service in services:
        service.wait_health(503)
    for service in services:
        service.process.terminate()
    for service in services:
        assert service.process.wait(SOON) == 0, service.log()


def _is_stuck(line: socket.socket) -> Callable[[], bool]:
    """Return what tells whether the other end has bytes to send, and no more than half a second ago."""
    port = line.getsockname()[1]
    seen: list[tuple[str, float]] = [("", 0.0)]

    def look() -> bool:
        rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
        waiting = next(row[4][:8] for row in rows if row[2].endswith(f":{port:04X}"))
        if waiting != seen[0][0]:
            seen[0] = waiting, time.monotonic()
        return int(waiting, 16) > 0 and time.monotonic() - seen[0][1] > 0.5

    return look

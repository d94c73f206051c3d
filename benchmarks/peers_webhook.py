"""The webhook that alerts are counted at, and MUTT as it delivers to it."""

import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks import machine
from benchmarks.measuring import Figure
from benchmarks.peers_loss import STILL, Loss, wait_still
from benchmarks.peers_mutt import BATCH, arrays
from benchmarks.peers_post import Poster
from benchmarks.stacks import HEADERS, KEY, PATH, Stack
from benchmarks.webhook import SETTINGS
from scripts.devtools.embedded import HOST, free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment

NAMES = ("ingestor", "alerter", "moog-forwarder")


class Webhook:
    """What the alerts are sent to, as a process of its own whose CPU does not count."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["Webhook"]:
        """Start it."""
        port, log = free_port(), Path(tempfile.gettempdir()) / "mutt-benchmark-hook.log"
        command = [sys.executable, "-m", "benchmarks.peers_hook", str(port)]
        with machine.processes([command], {}, log) as started:
            machine.wait_listening(port, f"the webhook (log: {log})", started)
            yield cls(port)

    def came(self) -> int:
        """Return how many different alerts came."""
        return self._ask("GET")[0]

    def again(self) -> int:
        """Return how often an alert came that had come before."""
        return self._ask("GET")[1]

    def forget(self) -> None:
        """Count from none on."""
        self._ask("DELETE")

    def _ask(self, method: str) -> tuple[int, int]:
        request = urllib.request.Request(self.url, method=method)  # noqa: S310
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            came, again = map(int, answer.read().split())
            return came, again


@dataclass
class Delivering:
    """MUTT with ingestor, alerter and forwarder, all of whose rules forward; each alert is audited too."""

    stack: Stack
    webhook: Webhook

    def speed(self, count: int) -> Figure:
        """Send events until the webhook has all of them."""
        made = arrays(count)
        with self._forwarding(), self._running() as (url, started):
            processes = [*started, *self.stack.servers.processes()]
            before, begun = machine.cpu_seconds(processes), time.perf_counter()
            with Poster(url, made, HEADERS) as poster:
                machine.wait_until(lambda: self.webhook.came() >= count, "the delivery of all alerts")
                seconds, used = time.perf_counter() - begun, machine.cpu_seconds(processes) - before
            assert len(poster.acknowledged) == len(made)
        return Figure(count / seconds, used / count * 1e6)

    def loss(self, count: int) -> Loss:
        """Kill the services and Redis in the middle, start them again, and count what the webhook never got."""
        redis = self.stack.servers.redis
        with self._forwarding():
            with self._running() as (url, started), Poster(url, arrays(count), HEADERS) as poster:
                machine.wait_until(lambda: poster.ended or self.webhook.came() >= count // 4, "a quarter of the alerts")
                redis.kill()
                for process in started:
                    process.kill()
            redis.start()
            with self._running():
                machine.wait_until(self.stack.drained, "the judgement of what was left")
                came = wait_still(self.webhook.came, STILL, "the end of what was left")
        taken = len(poster.acknowledged) * BATCH
        return Loss(taken, max(0, taken - came), self.webhook.again())

    @contextmanager
    def _forwarding(self) -> Iterator[None]:
        self.stack.clear()
        self.webhook.forget()
        with self.stack.servers.client as client:  # what is shed waits for later, which is not what is measured
            client.mset({f"mutt:config:alerter_queue_{name}_threshold": 10**9 for name in ("warn", "shed")})
        self._handle("Ticket_only")
        yield
        self._handle("Log_only")

    def _handle(self, handling: str) -> None:
        with psycopg.connect(self.stack.database) as connection:
            connection.execute("UPDATE alert_rules SET prod_handling = %s", (handling,))

    @contextmanager
    def _running(self) -> Iterator[tuple[str, list[psutil.Process]]]:
        environ = redis_environment(self.stack.servers.redis.url) | database_environment(self.stack.database)
        environ |= SETTINGS | {"INGEST_API_KEY": KEY, "MOOG_WEBHOOK_URL": self.webhook.url}
        environ |= {"DYNAMIC_CONFIG_ENABLED": "true"}
        health = {}
        for name in NAMES:
            ports = {use: free_port() for use in SERVICES[name].ports}
            environ |= port_environment(SERVICES[name], ports)
            health[name] = ports.get("health") or ports["http"]
        log = self.stack.log
        with machine.processes([SERVICES[name].command for name in NAMES], environ, log) as started:
            for name in NAMES:
                machine.wait_healthy(health[name], f"the {name} (log: {log})", started)
            yield f"http://{HOST}:{health['ingestor']}{PATH}", started

"""Alerts a second from the alert queue to a receiver that answers 200 at once, beside one `requests` call an alert.

    python -m benchmarks.webhook [--runs 3] [--quick] [--appendfsync off|everysec|always] [--json]

The whole way counts: claim, decode, permission, request, answer, delivery log, settle. Receiver, forwarder and both
servers share this machine. The CPU is that of forwarder and servers, without the receiver.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks import generator, machine, measuring
from benchmarks.machine import TREE, Servers
from benchmarks.measuring import Bench, Figure, Floor, Side
from benchmarks.workload import events
from mutt.events import decided_entry, decode_decided
from mutt.intake import Intake, Limits, Receipt
from mutt.moogsoft import body_of
from scripts.devtools.embedded import free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

ALERTS, READY = "mutt:alert_queue", "bench:alerts"
PODS = ("bench", "bench-2")
CONNECTIONS = 64
BATCH = 100
WARM_UP = 500  # alerts
WHY = (
    "a forwarder has one core, and one alert a request is mostly its interpreter's work: about a third of it reads the "
    "alert and makes its signature and JSON, a quarter writes and reads sockets, a sixth is the client of Redis, the "
    "rest ends answers and settles; two forwarders: `python -m benchmarks.webhook`"
)
SETTINGS = {
    # A million a second is no limit; the limiter is asked all the same.
    "MOOG_RATE_LIMIT": "100000",
    "MOOG_RATE_PERIOD": "0.1",
    "MOOG_CONCURRENCY": str(CONNECTIONS),
    "MOOG_API_KEY": "benchmark-key",
    "POD_NAME": PODS[0],
    "MUTT_BIND_HOST": "127.0.0.1",
    "LOG_LEVEL": "WARNING",
}


Forwarders = AbstractContextManager[list[psutil.Process]]


class Receiver:
    """The webhook."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/events"

    def report(self, method: str = "GET") -> dict[str, Any]:
        """Return what it got; DELETE lets it forget that."""
        request = urllib.request.Request(self.url, method=method)  # noqa: S310
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found


class Stage:
    """Servers, a database, and the receiver."""

    def __init__(self, servers: Servers, receiver: Receiver) -> None:
        self.servers = servers
        self.receiver = receiver
        self.database = machine.database_url(servers.postgres, "bench_webhook")
        migrate(self.database)
        self.log = Path(tempfile.gettempdir()) / "mutt-benchmark-webhook.log"

    @contextmanager
    def stack(self) -> Iterator[list[psutil.Process]]:
        """Start the plain stack's forwarder."""
        redis = self.servers.redis
        environ = {"REDIS_PORT": str(redis.port), "REDIS_PASS_CURRENT": redis.password}
        environ["MOOG_WEBHOOK_URL"] = self.receiver.url
        command = [sys.executable, str(TREE / "benchmarks/baseline/forwarder.py")]
        with machine.processes([command], environ, self.log) as started:
            yield started

    @contextmanager
    def mutt(self, more: Mapping[str, str], pods: Sequence[str]) -> Iterator[list[psutil.Process]]:
        """Start MUTT's, one a name."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._forwarder({**more, "POD_NAME": pod})) for pod in pods]

    @contextmanager
    def _forwarder(self, more: Mapping[str, str]) -> Iterator[psutil.Process]:
        service = SERVICES["moog-forwarder"]
        ports = {use: free_port() for use in service.ports}
        environ: Mapping[str, str] = {
            **redis_environment(self.servers.redis.url),
            **database_environment(self.database),
            **port_environment(service, ports),
            **SETTINGS,
            "MOOG_WEBHOOK_URL": self.receiver.url,
            **more,
        }
        with machine.processes([service.command], environ, self.log) as (process,):
            machine.wait_healthy(ports["health"], f"the forwarder (log: {self.log})", [process])
            yield process

    @contextmanager
    def ready(self, count: int) -> Iterator[Callable[[], object]]:
        """Lay alerts ready; gives what puts them into the queue, all at the same instant."""
        entries = alerts(count)
        with self.servers.client as client:
            for start in range(0, count, 1000):
                client.lpush(READY, *entries[start : start + 1000])
            yield partial(client.rename, READY, ALERTS)

    def drain(self, offer: Callable[[], object]) -> None:
        """Offer alerts, and wait until none waits or is held."""
        with self.servers.client as client, client.pipeline() as pipeline:

            def drained() -> bool:
                for name in (ALERTS, *(f"mutt:processing:moog:{pod}" for pod in PODS)):
                    pipeline.llen(name)
                return not any(pipeline.execute())

            offer()
            machine.wait_until(drained, "the delivery of all alerts", every=0.005)

    def limit(self, scale: float) -> Figure:
        """Let the load generator send the same alerts."""
        bodies = [body_of([decode_decided(entry)], "onprem", batch=False) for entry in alerts(500)]
        headers = {"Authorization": "Bearer benchmark-key"}
        self.receiver.report("DELETE")
        with generator.Load(self.receiver.url, bodies, headers, connections=CONNECTIONS) as load:
            report = load.run(5 * scale)
        return Figure(report.taken / report.seconds)

    def measure(self, count: int, start: Callable[[], Forwarders], scale: float) -> Figure:
        """Let forwarders deliver `count` alerts, and see that each came once."""
        count = max(WARM_UP, round(count * scale))
        with self.servers.client as client:
            client.flushall()
        with start() as started:
            with self.ready(WARM_UP) as offer:
                self.drain(offer)
            self.receiver.report("DELETE")
            everything = [*started, *self.servers.processes()]
            with self.ready(count) as offer:
                before, begun = machine.cpu_seconds(everything), time.perf_counter()
                own = machine.cpu_seconds(started)
                self.drain(offer)
            seconds, used = time.perf_counter() - begun, machine.cpu_seconds(everything) - before
            own = machine.cpu_seconds(started) - own
        found = self.receiver.report()
        if found["alerts"] != count:
            raise SystemExit(f"{found['alerts']} alerts came of {count}: a figure of it would mean nothing")
        notes = {"forwarder_us": own / count * 1e6, "an_request": count / found["requests"]}
        return Figure(count / seconds, used / count * 1e6, notes)


def alerts(count: int) -> list[bytes]:
    """Return entries of the alert queue as the alerter makes them, each with an id of its own."""
    intake = Intake(("timestamp", "message", "hostname"), Limits(), os.urandom)
    made = []
    for number, event in enumerate(events(count)):
        accepted = intake.read(event, "", "application/json", Receipt(time.time_ns() // 1000)).accepted[0]
        decision = {"handling": "Page_and_ticket", "team": "NETO", "environment": "prod"}
        made.append(decided_entry(accepted.entry, rule_id=number % 100 + 1, rule_version=1, **decision))
    return made


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Start the webhook."""
    port = free_port()
    log = Path(tempfile.gettempdir()) / "mutt-benchmark-receiver.log"
    with machine.processes([[sys.executable, "-m", "benchmarks.receiver", str(port)]], {}, log) as (process,):
        machine.wait_listening(port, f"the receiver (log: {log})", [process])
        yield Receiver(port, process)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start what the row needs."""
    with receiver() as webhook, machine.servers(options.appendfsync) as servers:
        stage = Stage(servers, webhook)
        one = partial(stage.mutt, {}, PODS[:1])
        two = partial(stage.mutt, {}, PODS)
        events_mode = partial(stage.mutt, {"MOOG_BATCH_MODE": "events"}, PODS[:1])
        yield Bench(
            "webhook",
            "Alerts to a webhook that answers at once, no limit",
            f"append-only file: {options.appendfsync}; one alert a request, {CONNECTIONS} requests under way; delivery "
            f"log on; no TLS; the limit is the same receiver under {generator.NAME}",
            [
                Side(
                    "stack", "BRPOPLPUSH, requests.Session, LREM, one by one", partial(stage.measure, 3000, stage.stack)
                ),
                Side("limit", "the receiver alone", stage.limit),
                Side("mutt", "one alert a request", partial(stage.measure, 60_000, one)),
                Side("mutt_two", "the same by two forwarders, on all cores", partial(stage.measure, 60_000, two)),
                Side(
                    "mutt_events",
                    f"up to {BATCH} alerts a request",
                    partial(stage.measure, 100_000, events_mode),
                ),
            ],
            [Floor("mutt", "stack", 25, why=WHY)],
            "alerts",
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

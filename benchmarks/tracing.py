# ruff: noqa: SLF001  (parts of an exchange are what is measured)
"""What tracing costs the ingestor for each event: switched off, and at two shares of traced requests.

    python benchmarks/tracing.py [--rounds 15]

The exchange reads one event's body and makes its queue entry, as for every request; beside it the same without the
question whether tracing is on. Rounds alternate, the fastest of each counts; spans go to an exporter that drops them.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from mutt.intake import Intake, Limits, Receipt, Taken
from mutt.settings import TracingSettings
from services.ingestor.door import Clock
from services.ingestor.exchange import Exchange
from services.ingestor.head import Head
from services.ingestor.peers import Peer
from services.tracing_spans import Tracing

EVENTS = 5000
BODY = (
    b'{"timestamp":"2026-03-01T12:00:00Z","hostname":"core-sw-017.example.net","source":"syslog","syslog_severity":4,'
    b'"message":"%LINK-3-UPDOWN: Interface GigabitEthernet1/0/17, changed state to down","facility":"local7"}'
)


class Dropped(SpanExporter):
    """Takes spans and keeps none."""

    def export(self, _spans: Any) -> SpanExportResult:
        """Take them."""
        return SpanExportResult.SUCCESS


def exchange(tracing: Tracing | None) -> Exchange:
    """Return an exchange of an ingestor whose tracing is that."""
    door: Any = SimpleNamespace(
        intake=Intake(("timestamp", "message", "hostname"), Limits(), os.urandom),
        clock=Clock(),
        tracing=tracing,
    )
    head = Head([(b"content-type", b"application/json")], deprecated=False, keep_alive=True)
    return Exchange(door, SimpleNamespace(peer=Peer("")), head, time.perf_counter())


def share(ratio: float) -> Tracing:
    """Return tracing of that share of requests."""
    return Tracing(TracingSettings(enabled=True, ratio=ratio), "mutt-ingestor", Dropped())


def unasked() -> Callable[[], None]:
    """Return the way of an event before there was tracing."""
    made = exchange(None)

    def intake(body: bytes) -> Taken:
        door, head = made._door, made._head
        receipt = Receipt(door.clock.unix_us(), head.correlation_id, head.traceparent)
        return made._understand(body, receipt)

    def once() -> None:
        intake(BODY)

    return once


def asked(tracing: Tracing | None) -> Callable[[], None]:
    """Return the way of an event now."""
    made = exchange(tracing)

    def once() -> None:
        made._intake(BODY)
        if made._traced is not None:
            made._end_trace(made._traced, 200)
            made._traced = None

    return once


def seconds(once: Callable[[], None], tracing: Tracing | None) -> float:
    """Return how long the events of a round take; its spans leave before the next one begins."""
    began = time.perf_counter()
    for _ in range(EVENTS):
        once()
    taken = time.perf_counter() - began
    if tracing is not None:
        tracing._provider.force_flush()
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    few, all_of_them = share(0.01), share(1.0)
    ways: dict[str, tuple[Callable[[], None], Tracing | None]] = {
        "without the question": (unasked(), None),
        "OTEL_ENABLED=false": (asked(None), None),
        "1 request of 100": (asked(few), few),
        "every request": (asked(all_of_them), all_of_them),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, (once, tracing) in ways.items():
            best[name] = min(best[name], seconds(once, tracing))
    base = best["without the question"]
    for name, taken in best.items():
        sys.stdout.write(f"{name:22} {taken / EVENTS * 1e6:7.2f} us an event  x {taken / base:.3f}\n")


if __name__ == "__main__":
    main()

"""Curve: from the moment when an event was due to its answer, its audit row and its delivery, against the load.

The load is open: events come at their times whether or not earlier ones were answered, and each says in its field `due`
when it was to come, from which every latency counts. "Audited" is the time of the transaction's commit record
(`pg_xact_commit_timestamp`), read from the database afterwards: of all events, without disturbing the run; the flush of
the log that follows it is told beside. "Delivered" is when the receiver has read the alert, by its clock, which is the
same machine's.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks import machine, webhook
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import OpenLoad, Running, Stage
from scripts.devtools.embedded import free_port

SHARES = (10, 50, 80)  # per cent of capacity
WAYS = ("audited", "delivered")
MOST_MS = 250.0
ALERT_LISTS = ("mutt:alert_queue", "mutt:processing:moog:bench")
SETTINGS = {"track_commit_timestamp": "on", "track_wal_io_timing": "on"}
AGES = """
    SELECT percentile_disc(ARRAY[0.5, 0.99, 0.999]) WITHIN GROUP (ORDER BY
        extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 - (raw->>'due')::float8), count(*)
    FROM event_audit_log
"""
FLUSH = "SELECT sum(fsync_time) / nullif(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal'"


@contextmanager
def receiving() -> Iterator[webhook.Receiver]:
    """Start the receiver."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.receiver", str(port)]
    with machine.processes([command], {}, Path(tempfile.gettempdir()) / "mutt-benchmark-receiver.log") as (process,):
        machine.wait_listening(port, "the receiver", [process])
        yield webhook.Receiver(port, process)


class Way:
    """The services of one way, and the load upon them."""

    def __init__(self, name: str, stage: Stage, receiver: webhook.Receiver, services: list[Running]) -> None:
        self.name, self.stage, self.receiver = name, stage, receiver
        self.url = services[0].url

    def ended(self) -> bool:
        """Tell whether nothing waits anywhere."""
        if not self.stage.drained():
            return False
        with self.stage.servers.client as client:
            return not any(client.llen(name) for name in ALERT_LISTS)

    def capacity(self, seconds: float) -> float:
        """Return the events a second that go their whole way when they come as fast as answers do."""
        OpenLoad(self.url, seconds=1).run()
        machine.wait_until(self.ended, "the end of the warm-up")
        load, begun = OpenLoad(self.url, seconds=seconds), time.perf_counter()
        report = load.run()
        machine.wait_until(self.ended, "the end of all events", every=0.005)
        return float(report["accepted"] / (time.perf_counter() - begun))

    def at(self, rate: float, seconds: float) -> dict[str, float]:
        """Return the latencies in ms at so many events a second.

        Redis is left as it is: a worker whose heartbeat is taken away begins anew, and all wait for it meanwhile.
        """
        OpenLoad(self.url, rate=rate, seconds=1).run()
        machine.wait_until(self.ended, "the end of the warm-up")
        self.stage.empty_audit()
        self.receiver.report("DELETE")
        report = OpenLoad(self.url, rate=rate, seconds=seconds).run()
        machine.wait_until(self.ended, "the end of all events")
        found = {f"answered_{name}": report[f"{name}_ms"] for name in ("p50", "p99", "p999")}
        if self.name == "delivered":
            told = self.receiver.report()
            expected, seen = report["accepted"], told["alerts"]
            ages = [told["p50_ms"], told["p99_ms"], told["p999_ms"]]
        else:
            expected = report["accepted"]
            with psycopg.connect(self.stage.database) as connection:
                row = connection.execute(AGES).fetchone()
                assert row is not None
                ages, seen = [each * 1000 for each in row[0]], row[1]
        if seen != expected:
            raise SystemExit(f"{seen} of {expected} events were {self.name}: their latency would mean nothing")
        return found | {f"{self.name}_{name}": age for name, age in zip(("p50", "p99", "p999"), ages, strict=True)}


def flush_ms(stage: Stage) -> float:
    """Return how long a flush of the write-ahead log took on average; 0 where this PostgreSQL does not tell."""
    with psycopg.connect(stage.database) as connection:
        if connection.info.server_version < 180_000:
            return 0.0
        row = connection.execute(FLUSH).fetchone()
    return float(row[0] or 0) if row else 0.0


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    seconds = 3.0 if option.quick else 10.0
    with machine.servers(option.appendfsync) as servers, receiving() as receiver:
        machine.configure(servers, SETTINGS)
        stages = {"audited": Stage(servers), "delivered": Stage(servers, handling="Ticket_only")}
        capacities: dict[str, float] = {}

        @contextmanager
        def way_of(name: str) -> Iterator[Way]:
            stage = stages[name]
            stage.clear()
            names = ("ingestor", "alerter", *(("moog-forwarder",) if name == "delivered" else ()))
            with stage.running(*names, environ={**webhook.SETTINGS, "MOOG_WEBHOOK_URL": receiver.url}) as services:
                yield Way(name, stage, receiver, services)

        def measure(x: float) -> Mapping[str, float]:
            found: dict[str, float] = {}
            for name in WAYS:
                if name not in capacities:  # by services of its own: what it leaves to do is not to be in a latency
                    with way_of(name) as way:
                        capacities[name] = way.capacity(seconds / 2)
                with way_of(name) as way:
                    found[f"{name}_rate"] = rate = capacities[name] * x / 100
                    found |= way.at(rate, seconds)
            return found | {"flush": flush_ms(stages["audited"])}

        yield Curve(
            "latency",
            "Latency",
            f"single events over 64 connections, open load of {seconds:g} s, 100 % is what the same generator got "
            "through in the same run; each latency counts from when the event was due",
            "% of capacity",
            SHARES,
            (
                Series("audited_rate", "audited", "events/s"),
                Series("delivered_rate", "delivered", "events/s"),
                Series("audited_p50", "audited, p50", "ms"),
                Series("audited_p99", "audited, p99", "ms"),
                Series("audited_p999", "audited, p99.9", "ms"),
                Series("answered_p99", "answered, p99", "ms"),
                Series("delivered_p50", "delivered, p50", "ms", "delivered"),
                Series("delivered_p99", "delivered, p99", "ms", "delivered"),
                Series("delivered_p999", "delivered, p99.9", "ms", "delivered"),
                Series("flush", "a flush of the log, mean", "ms", "flush"),
            ),
            (
                Promise("99 % are audited within 250 ms at every load", "audited_p99", "flat", 1.0, most=MOST_MS),
                Promise("99 % are delivered within 250 ms at every load", "delivered_p99", "flat", 1.0, most=MOST_MS),
            ),
            measure,
        )

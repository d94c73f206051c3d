"""Batches of 100 over 64 connections until Redis has them, beside what Redis takes of redis-benchmark at most.

python -m benchmarks.ingest_batches [--runs 3] [--quick] [--appendfsync off|everysec|always] [--json]
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import generator, ingest, machine, measuring
from benchmarks.measuring import Bench, Floor, Side

SECONDS = 2.0  # nobody takes the events from the queue: it is a million by then
BATCH = 100
PUSHED = 1_000_000  # events
WHY = "one process decodes and checks each event and gives it its ids; redis-benchmark sends the same bytes again"


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    with machine.servers(options.appendfsync) as servers:
        sides = (
            Side(
                "limit",
                f"redis-benchmark, LPUSH of an entry of the same size, {ingest.PIPELINED} at once; no HTTP, no check",
                lambda scale: ingest.pushed(servers, round(PUSHED * scale)),
            ),
            Side("mutt", "one ingestor", lambda scale: ingest.mutt(servers, BATCH, SECONDS * scale)),
        )
        yield Bench(
            "ingest_batches",
            f"Ingest, batches of {BATCH}",
            f"AOF {options.appendfsync}; {ingest.CONNECTIONS} connections, {generator.NAME}; load generator and Redis "
            "on the same cores",
            sides,
            (Floor("mutt", "limit", 0.4, why=WHY),),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

"""Single events over 64 connections until Redis has them, beside the plain stack and an answer that does nothing.

python -m benchmarks.ingest_single [--runs 3] [--quick] [--appendfsync off|everysec|always] [--json]
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import generator, ingest, machine, measuring
from benchmarks.measuring import Bench, Floor, Side
from benchmarks.stacks import Stack

SECONDS = 5.0
WHY = (
    "two fifths of an ingestor's time are the kernel's, receiving and sending (`python -m benchmarks.stages`); the "
    "rest is the sender's key and share, checks, ids and a reply for each event, in one process"
)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    with machine.servers(options.appendfsync) as servers:
        stack = Stack("stack", servers)
        sides = (
            Side(
                "stack",
                "Flask behind gunicorn (2 workers of 16 threads: the fastest), LLEN and LPUSH for each event",
                lambda scale: ingest.plain(servers, stack, SECONDS * scale),
            ),
            Side(
                "limit",
                "uvloop and httptools, the same answer to every request and nothing else",
                lambda scale: ingest.answered(1, SECONDS * scale),
            ),
            Side("mutt", "one ingestor", lambda scale: ingest.mutt(servers, 1, SECONDS * scale)),
        )
        yield Bench(
            "ingest_single",
            "Ingest, single events",
            f"AOF {options.appendfsync}; {ingest.CONNECTIONS} connections, {generator.NAME}; load generator and Redis "
            "on the same cores",
            sides,
            (Floor("mutt", "stack", 20, why=WHY), Floor("mutt", "limit", 0.5, why=WHY)),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

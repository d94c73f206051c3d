"""Batches of 100 over 64 connections, from the sender to the committed audit row, beside COPY alone and rsyslog."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from benchmarks import generator, machine, measuring, peers_rsyslog
from benchmarks.end_to_end import CONDITIONS, CONNECTIONS, copied, packed, sent_and_audited
from benchmarks.measuring import Bench, Floor, Side
from benchmarks.stacks import Stack

BATCH = 100
SECONDS = {1: 5.0, BATCH: 1.5}  # of load; what is left of it in the queue is audited in the time that counts too
LINES = 100_000  # for rsyslog
WHY = "ingestor, Redis and the judging of each event want the cores that COPY alone has for itself"


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    rows = cache(packed)
    with machine.servers(options.appendfsync) as servers:
        stack, mutt = Stack("stack", servers), Stack("mutt", servers)
        sides = (
            Side(
                "stack",
                "the plain stack of end_to_end_single, single events",
                lambda scale: sent_and_audited(stack, 1, SECONDS[1] * scale),
            ),
            Side(
                "limit",
                "COPY alone: the same packed rows, one connection, 1,000 rows a commit, the same table and indexes",
                lambda scale: copied(mutt, rows(scale)),
            ),
            Side(
                "mutt", "one ingestor, one alerter", lambda scale: sent_and_audited(mutt, BATCH, SECONDS[BATCH] * scale)
            ),
            peers_rsyslog.side(servers, LINES),
        )
        yield Bench(
            "end_to_end_batches",
            f"End to end, batches of {BATCH}",
            f"AOF {options.appendfsync}; {CONNECTIONS} connections, {generator.NAME}; {CONDITIONS}",
            sides,
            (Floor("mutt", "stack", 30), Floor("mutt", "limit", 0.6, why=WHY), Floor("mutt", "rsyslog", 1, "cpu_us")),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

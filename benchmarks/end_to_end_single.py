"""Single events over 64 connections, from the sender to the committed audit row, beside the plain stack."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import generator, machine, measuring
from benchmarks.end_to_end import CONDITIONS, CONNECTIONS, sent_and_audited
from benchmarks.measuring import Bench, Floor, Side
from benchmarks.stacks import Stack

SECONDS = 5.0


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    with machine.servers(options.appendfsync) as servers:
        stack, mutt = Stack("stack", servers), Stack("mutt", servers)
        sides = (
            Side(
                "stack",
                "Flask behind gunicorn (2 workers of 16 threads: the fastest), LPUSH, a loop over the rules, INSERT",
                lambda scale: sent_and_audited(stack, 1, SECONDS * scale),
            ),
            Side("mutt", "one ingestor, one alerter", lambda scale: sent_and_audited(mutt, 1, SECONDS * scale)),
        )
        yield Bench(
            "end_to_end_single",
            "End to end, single events",
            f"AOF {options.appendfsync}; {CONNECTIONS} connections, {generator.NAME}; {CONDITIONS}",
            sides,
            (Floor("mutt", "stack", 20),),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

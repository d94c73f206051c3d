"""One, two and four ingestors on this machine, single events and batches: what another instance gives and costs.

    python -m benchmarks.instances [--runs 3] [--quick] [--appendfsync off|everysec|always] [--json]

A process uses one core. Load generator and Redis want their share of the same cores: where the CPU of all of them is
used up, another instance gives nothing, and its smaller groups make each push dearer.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import generator, ingest, machine, measuring
from benchmarks.measuring import Bench, Side

SECONDS = {1: 3.0, 100: 1.0}
WORDS = {1: "single", 100: "batches"}
NUMBERS = (1, 2, 4)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    with machine.servers(options.appendfsync) as servers:

        def side(number: int, batch: int) -> Side:
            what = f"{number} ingestor{'s' * (number > 1)}, {'single events' if batch == 1 else f'batches of {batch}'}"
            seconds = SECONDS[batch]
            return Side(
                f"{number} {WORDS[batch]}", what, lambda scale: ingest.mutt(servers, batch, seconds * scale, number)
            )

        yield Bench(
            "instances",
            "Ingestors side by side",
            f"AOF {options.appendfsync}; {ingest.CONNECTIONS} connections in all, {generator.NAME}; load generator and "
            f"Redis on the same {os.cpu_count()} cores",
            tuple(side(number, batch) for batch in WORDS for number in NUMBERS),
            (),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

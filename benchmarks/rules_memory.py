"""What compiled rules take: bytes a rule at 10,000 and 100,000 rules, and the time to compile them.

    python benchmarks/rules_memory.py [--runs 3] [--quick] [--json]

Each measurement is a process of its own: resident memory before and after the rules are read into a book, as an alerter
holds it, without what the alerter is besides.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psutil

from benchmarks import machine, measuring, pieces
from benchmarks.measuring import Bench, Figure, Side

COUNTS = (10_000, 100_000)


def compiled_here(count: int) -> Figure:
    """Compile so many rules in this process."""
    pieces.book()  # what is loaded at the first use is no rule's
    gc.collect()
    process = psutil.Process()
    empty, before = process.memory_info().rss, time.process_time()
    gc.disable()  # as the alerter does meanwhile
    held = pieces.book(count)
    seconds, full = time.process_time() - before, process.memory_info().rss
    gc.enable()
    assert len(held) == count
    notes = {"bytes a rule": (full - empty) / count, "seconds": seconds, "RSS MiB": full / (1 << 20)}
    return Figure(count / seconds, seconds / count * 1e6, notes)


def compiled(count: int, scale: float) -> Figure:
    """Compile so many rules in a process of their own."""
    number = max(100, round(count * scale))
    code = (
        "import dataclasses, json, sys; from benchmarks.rules_memory import compiled_here;"
        "print(json.dumps(dataclasses.asdict(compiled_here(int(sys.argv[1])))))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(number)], check=True, cwd=machine.TREE, stdout=subprocess.PIPE
    )
    return Figure(**json.loads(run.stdout))


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Give the row."""
    del options
    yield Bench(
        "rules_memory",
        "Memory of compiled rules",
        "eight in ten rules are literals, the rest regexes and OIDs; per second of CPU",
        [
            Side(f"{count:,} rules", f"{count:,} rules compiled into a book", partial(compiled, count))
            for count in COUNTS
        ],
        [],
        unit="rules",
    )


if __name__ == "__main__":
    measuring.main(bench, __doc__)

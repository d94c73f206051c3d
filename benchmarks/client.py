"""The load of the end-to-end benchmark as a process of its own, so that it shares no interpreter with what it measures.

It prints `ready` once all bodies are made, starts at a line on its input, and prints one JSON object at the end.
"""

import argparse
import itertools
import json
import sys

import uvloop

from benchmarks.load import Load, Target, run
from benchmarks.workload import events

NO_LIMIT = 86_400.0  # seconds


def bodies(count: int, batch: int, seed: int) -> list[bytes]:
    """Return the bodies of all requests: single objects, or arrays of `batch`."""
    source = events(count, seed)
    chunks = iter(lambda: list(itertools.islice(source, batch)), [])
    return [chunk[0] if batch == 1 else b"[" + b",".join(chunk) + b"]" for chunk in chunks]


def main() -> None:
    """Make, wait for the start, send, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("key")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    made = bodies(options.count, options.batch, options.seed)
    connections = min(options.connections, len(made))
    load = Load(connections, NO_LIMIT, options.count, options.batch, make=lambda first: made[first // options.batch])
    print("ready", flush=True)
    if not sys.stdin.readline():
        return  # the benchmark has ended without us
    result = uvloop.run(run(Target.of_url(options.url, options.key), load))
    if result.accepted != options.count:
        raise SystemExit(f"{result.accepted} of {options.count} events were taken: {result}")
    report = {"seconds": result.seconds, "p50_ms": result.quantile(0.5) * 1000, "p99_ms": result.quantile(0.99) * 1000}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()

"""The load of benchmarks/generator.py where wrk is missing: the generator in Python as a process of its own.

It reads the file of requests, prints `ready`, sends until SIGINT and prints one JSON object at the end.
"""

import argparse
import asyncio
import json
import signal
from pathlib import Path

import uvloop

from benchmarks.load import Load, Result, Target, run

NO_LIMIT = 86_400.0  # seconds


def requests(file: Path) -> list[bytes]:
    """Return the requests of the file, of which each follows its length and a line feed."""
    made = []
    with file.open("rb") as source:
        while length := source.readline():
            made.append(source.read(int(length)))
    return made


async def send(origin: str, made: list[bytes], connections: int) -> Result:
    """Send until SIGINT."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    print("ready", flush=True)
    return await run(Target.of_url(origin, ""), Load(connections, NO_LIMIT, requests=made, ended=ended.is_set))


def main() -> None:
    """Read, send, report as generator.lua does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("origin")
    parser.add_argument("file", type=Path)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    result = uvloop.run(send(options.origin, requests(options.file), options.connections))
    report = {"answered": result.accepted + result.refused, "refused": result.refused, "failed": 0}
    report["seconds"] = result.seconds  # type: ignore[assignment]
    quantiles = {name: result.quantile(share) * 1000 for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    print(json.dumps(report | quantiles | {"p999_ms": result.quantile(0.999) * 1000}), flush=True)


if __name__ == "__main__":
    main()

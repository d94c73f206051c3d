"""The load over HTTP: wrk with requests made beforehand, or the generator in Python where wrk is missing.

    load = Load(url, bodies, {"X-API-KEY": key}, connections=64)
    with load: report = load.run(5.0)

Each connection has one request under way and sends the next one when it is answered; the bodies are sent in turn.
`NAME` says which of the two it is: a row tells it in its conditions.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks.machine import TREE
from tests.harness.programs import Program, find

WRK = find("wrk")
NAME = "wrk" if WRK else "the generator in Python (wrk is not here: bash .ci/programs unpacks it)"
SCRIPT = TREE / "benchmarks" / "generator.lua"
LONGER = 3600  # seconds; wrk takes whole ones, so it is told when to end
LONGEST_REPLY = 60.0  # seconds


@dataclass(frozen=True)
class Report:
    """What came back within `seconds`; latencies are those of requests."""

    answered: int  # requests, all statuses
    refused: int  # of these with another status than 2xx or 3xx
    failed: int  # connections refused or broken, and replies that took too long
    seconds: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    begun: float  # time.perf_counter() when the first request left

    @property
    def taken(self) -> int:
        """Return how many requests were answered well; ends the benchmark when some were not."""
        if self.refused or self.failed or not self.answered:
            raise SystemExit(f"the load was not taken as it was sent: {self}")
        return self.answered


class Load:
    """Requests to one address; `run` sends them, as often as it is called."""

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        connections: int = 64,
        wrk: Program | None = WRK,
    ) -> None:
        parts = urlsplit(url)
        host = f"{parts.hostname}:{parts.port or 80}"
        lines = {"Host": host, "Content-Type": "application/json", **(headers or {})}
        head = f"POST {parts.path or '/'} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._folder = tempfile.TemporaryDirectory(prefix="mutt-load-")
        file = Path(self._folder.name) / "requests"
        file.write_bytes(b"".join(b"%d\n" % len(request) + request for request in requests))
        if wrk is None:
            self._environment = {**os.environ, "PYTHONPATH": str(TREE)}
            command = [sys.executable, "-m", "benchmarks.client"]
        else:
            self._environment = wrk.environment
            # One thread is enough for what two cores answer, and leaves them the rest.
            command = [str(wrk.path), "--threads=1", f"--duration={LONGER}", "--timeout=10", f"--script={SCRIPT}"]
        self._command = [*command, f"--connections={connections}", f"http://{host}", str(file)]

    def __enter__(self) -> Self:
        """Keep the file of the requests until the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self._folder.cleanup()

    def run(self, seconds: float) -> Report:
        """Send for so long."""
        process = subprocess.Popen(self._command, env=self._environment, cwd=TREE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("the load generator did not start")
            begun = time.perf_counter()
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=LONGEST_REPLY)
        finally:
            process.kill()
            process.wait()
        found = [line for line in output.splitlines() if line.startswith("{")]
        if not found:
            raise SystemExit(f"the load generator failed: {output}")
        return Report(**json.loads(found[0]), begun=begun)

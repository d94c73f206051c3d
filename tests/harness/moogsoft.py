"""The Moogsoft stand-in as a process of a test."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from scripts.devtools.embedded import free_port
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST
from tests.harness.processes import DIRECT, fetch
from tests.harness.waiting import wait_for


class MoogStandIn:
    """The stand-in; `kill` and `start` again keep what it received and its port."""

    def __init__(self, folder: Path, api_key: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.events_url = f"{self.url}/events"
        self._folder = folder
        self.api_key = api_key
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        command = [sys.executable, "-m", "scripts.devtools.moogsoft_stand_in", "--port", str(self.port)]
        with (self._folder / "moogsoft.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--state", str(self._folder / "moogsoft.ndjson")],
                env={"MOOG_API_KEY": self.api_key},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )
        wait_for(lambda: fetch(f"{self.url}/health")[0] == 200, "the Moogsoft stand-in's health")

    def kill(self) -> None:
        """Kill it as kill -9 does: from then on its port refuses connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stats(self) -> dict[str, Any]:
        """Return /stats: count, distinct, doubled, requests, misbehaved."""
        found: dict[str, Any] = json.loads(fetch(f"{self.url}/stats", 60)[1])
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Return every alert received, oldest first."""
        found: list[dict[str, Any]] = json.loads(fetch(f"{self.url}/alerts", 60)[1])
        return found

    def forget(self) -> None:
        """Forget what was received."""
        request = urllib.request.Request(f"{self.url}/alerts", method="DELETE")  # noqa: S310
        with DIRECT.open(request, timeout=60):
            pass

    def behave(self, **how: object) -> None:
        """Let it misbehave: slow=2, status=503, retry_after=1, hang=True, refuse=True, times=3; nothing = well."""
        request = urllib.request.Request(f"{self.url}/behave", json.dumps(how).encode(), method="POST")  # noqa: S310
        with DIRECT.open(request, timeout=60):
            pass

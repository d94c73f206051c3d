"""The five services under load with a real Prometheus that scrapes them by the shipped configuration."""

import itertools
import json
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from scripts.devtools.embedded import free_port
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST
from tests.contract.stack import KEYS, LOG, PAGE, UNMATCHED, Stack, event
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import fetch
from tests.harness.programs import program
from tests.harness.waiting import wait_for
from tests.monitoring.files import MONITORING

QUICKLY = "1s"  # in the place of 15 s


class Prometheus:
    """Prometheus on a copy of monitoring/, whose targets are where the services of a test are."""

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._folder = folder
        shutil.copytree(MONITORING, folder / "monitoring")
        for name, address in targets.items():
            path = folder / "monitoring" / "targets" / f"{name}.yml"
            path.write_text(yaml.safe_dump([{"targets": [address]}]), encoding="utf-8")
        config = folder / "monitoring" / "prometheus.yml"
        config.write_text(config.read_text(encoding="utf-8").replace("15s", QUICKLY).replace("5s", QUICKLY))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        found = program("prometheus")
        with (self._folder / "prometheus.log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    str(found.path),
                    f"--config.file={self._folder / 'monitoring' / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={HOST}:{self.port}",
                ],
                env=found.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )
        wait_for(lambda: fetch(f"{self.url}/-/ready")[0] == 200, "Prometheus")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of a reply of its API."""
        status, body = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, f"{path} {parameters}: {body}"
        return json.loads(body)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query: series with their label and value."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found


class Load(threading.Thread):
    """What senders, operators and faults do to the services, again and again until `stop`."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._ended = threading.Event()

    def run(self) -> None:
        """Send."""
        broken = {"hostname": "contract.example"}
        for number in itertools.count():
            with suppress(OSError):
                self._stack.post(f"{PAGE} {number}", f"{LOG} {number}", f"{UNMATCHED} {number}")
                self._send([event(f"{LOG} beside a broken one"), broken], INGEST_API_KEY)
                self._send(event("from nobody"), "wrong")
                for path in ("/api/v2/rules", "/api/v2/unhandled", "/api/v2/audit-logs"):
                    self._stack.request("webui", "http", "GET", path, key=KEYS["webui"])
            if self._ended.wait(0.1):
                return

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self.join()

    def _send(self, body: Any, key: str) -> None:
        self._stack.request("ingestor", "http", "POST", "/api/v2/ingest", body, key)


@contextmanager
def watched(folder: Path, stack: Stack) -> Iterator[Prometheus]:
    """Put the services under load and under Prometheus."""
    targets = {}
    for name, service in stack.services.items():
        targets[name] = f"{HOST}:{service.ports.get('metrics') or service.ports['http']}"
    prometheus, load = Prometheus(folder, targets), Load(stack)
    try:
        prometheus.start()
        load.start()
        yield prometheus
        load.stop()
    finally:
        prometheus.stop()

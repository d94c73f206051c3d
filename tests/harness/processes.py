"""A service as the process of a test: started by the path of its entry file, on free ports."""

import http.client
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from prometheus_client.parser import text_string_to_metric_families

from scripts.devtools.embedded import free_port
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST, SERVICES, Service, port_environment
from tests.harness.nursery import CONSTANTS, Child, Nursery
from tests.harness.waiting import wait_for

START_TIMEOUT = 60.0  # seconds; five services that start at once on two busy cores take a third of it
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the user has no part in this
STOP_TIMEOUT = 60.0  # seconds; longer than the services' own grace period of 20 s, on a busy machine too


class StartService(Protocol):
    """The fixture `start_service`."""

    def __call__(self, name: str, *, wait: bool = True, **environment: str) -> "ServiceProcess":
        """Start a service; with `wait` only return once its health is 200."""


class ServiceProcess:
    """One run of a service after another: `restart` keeps its ports, its POD_NAME and its log."""

    def __init__(
        self, service: Service, environment: Mapping[str, str], log_file: Path, nursery: Nursery | None = None
    ) -> None:
        self.service = service
        self._nursery = nursery
        self.ports = {use: free_port() for use in service.ports}
        self.environment = {**port_environment(service, self.ports), **environment}
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | Child | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start the process: the first time by its nursery, if it has one, and then by its command."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = {**inherited, **self.environment}
        if self._nursery is not None and self._process is None:
            self._process = self._nursery.start(environment, self.log_file)
        else:
            self._process = self._run_command(environment)
        if wait:
            self.wait_healthy()

    def _run_command(self, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        assert CONSTANTS not in environment, "a service that is started by its command has the product's own constants"
        with self.log_file.open("ab") as output:
            return subprocess.Popen(
                self.service.command,
                env=environment,
                cwd="/",  # whatever a service reads by a relative path would be missed here
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )

    @property
    def process(self) -> "subprocess.Popen[bytes] | Child":
        """The process, running or ended."""
        if self._process is None:
            raise AssertionError(f"{self.service.name} was not started")
        return self._process

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def url(self) -> str:
        """The base address: of the HTTP port, or of the health port of a worker."""
        return f"http://{HOST}:{self.ports.get('http') or self.ports['health']}"

    @property
    def health_url(self) -> str:
        """The address of its health check."""
        return f"{self.url}/health"

    @property
    def live_url(self) -> str:
        """The address of its liveness check."""
        return f"{self.url}/live"

    @property
    def metrics_url(self) -> str:
        """The address of its metrics."""
        return f"http://{HOST}:{self.ports.get('http') or self.ports['metrics']}/metrics"

    def wait_healthy(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until its health is 200; fails at once, showing the log, when the process ends."""
        self.wait_health(200, timeout)

    def wait_health(self, status: int, timeout: float = START_TIMEOUT) -> str:
        """Wait until its health answers with `status` and return the body."""
        bodies: list[str] = []

        def look() -> bool:
            if not self.running:
                code = self.process.returncode
                raise AssertionError(f"{self.service.name} ended with {code}:\n{self.log()[-4000:]}")
            found, body = fetch(self.health_url)
            bodies.append(body)
            return found == status

        try:
            wait_for(look, f"health {status} of {self.service.name}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; last body: {bodies[-1:]}\n{self.log()[-4000:]}") from None
        return bodies[-1]

    def wait_log(self, text: str, timeout: float = START_TIMEOUT) -> None:
        """Wait until its log holds `text`."""
        wait_for(lambda: text in self.log(), f"{text!r} in the log of {self.service.name}", timeout)

    def log(self) -> str:
        """Return all that its runs printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of one sample of its metrics (`mutt_x_total`, `mutt_y_count`, …), None if absent."""
        page: list[str] = []

        def scrape() -> bool:
            status, body = fetch(self.metrics_url)
            page[:] = [body]
            return status == 200

        wait_for(scrape, f"the metrics of {self.service.name}")
        for family in text_string_to_metric_families(page[0]):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it as kill -9 does and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout: float = STOP_TIMEOUT) -> int:
        """Send SIGTERM, wait for the end and return the exit status; fails when it does not end in time."""
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"{self.service.name} did not end within {timeout:g} s of SIGTERM:\n{self.log()[-4000:]}"
            raise AssertionError(message) from None

    def restart(self, *, wait: bool = True) -> None:
        """Start it again, after a SIGTERM if it still runs."""
        if self.running:
            self.terminate()
        self.start(wait=wait)

    def close(self) -> None:
        """End it at the end of a test: a paused one too, and without grace."""
        if self._process is not None and self.running:
            self.signal(signal.SIGCONT)
            self.kill()


def fetch(url: str, timeout: float = 10.0) -> tuple[int, str]:
    """GET `url` and return status and body; status 0 when nothing answers."""
    try:
        with DIRECT.open(url, timeout=timeout) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


def find_service(name: str) -> Service:
    """Return the service named as in status ("moog-forwarder") or as its entry file ("moog_forwarder")."""
    for service in SERVICES.values():
        if name in {service.name, service.entry.removesuffix("_service.py")}:
            return service
    raise AssertionError(f"no service {name!r}; there are {', '.join(SERVICES)}")

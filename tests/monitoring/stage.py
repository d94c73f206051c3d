"""The five services under load with a real Prometheus that scrapes them by the shipped configuration."""

import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from scripts.devtools.embedded import free_port, postgres_binary
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST, Service, database_environment
from tests.contract.stack import KEYS, LOG, PAGE, SHORT, UNMATCHED, Stack, event, running
from tests.harness.credentials import INGEST_API_KEY, WEBUI_API_KEY
from tests.harness.documents import Shell, command
from tests.harness.nursery import Nursery
from tests.harness.processes import fetch
from tests.harness.programs import program
from tests.harness.servers import Databases
from tests.harness.waiting import wait_for
from tests.monitoring.files import MONITORING
from tests.service.moog_stage import TLS_FOLDER, Moogsoft

QUICKLY = "1s"  # in the place of 15 s
ADDRESSES = {
    "INGESTOR": "ingestor",
    "ALERTER": "alerter",
    "FORWARDER": "moog-forwarder",
    "CONSOLE": "webui",
    "REMEDIATION": "remediation",
}


class Prometheus:
    """Prometheus on a copy of monitoring/, whose targets are where the services of a test are."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._folder = folder
        shutil.copytree(MONITORING, folder / "monitoring")
        for name, service in stack.services.items():
            address = f"{HOST}:{service.ports.get('metrics') or service.ports['http']}"
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
        self._flowing = threading.Event()
        self._flowing.set()

    def run(self) -> None:
        """Send."""
        broken = {"hostname": "contract.example"}
        for number in itertools.count():
            self._flowing.wait()
            with suppress(OSError):
                self._stack.post(f"{PAGE} {number}", f"{LOG} {number}", f"{UNMATCHED} {number}")
                self._send([event(f"{LOG} beside a broken one"), broken], INGEST_API_KEY)
                self._send(event("from nobody"), "wrong")
                for path in ("/api/v2/rules", "/api/v2/unhandled", "/api/v2/audit-logs"):
                    self._stack.request("webui", "http", "GET", path, key=KEYS["webui"])
            if self._ended.wait(0.1):
                return

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Go on."""
        self._flowing.set()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self.resume()
        self.join()

    def _send(self, body: Any, key: str) -> None:
        self._stack.request("ingestor", "http", "POST", "/api/v2/ingest", body, key)


@dataclass
class Stage:
    """All that runs, and the shell of an operator of it."""

    folder: Path
    stack: Stack
    moogsoft: Moogsoft
    prometheus: Prometheus
    load: Load

    def shell(self) -> Shell:
        """Return a bash with the variables that the runbooks name."""
        programs, ports = self.folder / "programs", {}
        for name in ("redis-cli", "promtool"):
            found = program(name)
            command(programs, name, found.path, LD_LIBRARY_PATH=found.environment.get("LD_LIBRARY_PATH", ""))
        command(programs, "psql", postgres_binary("psql"))
        for variable, name in ADDRESSES.items():
            port = self.stack.services[name].ports
            ports[variable] = f"http://{HOST}:{port.get('metrics') or port['http']}"
        redis, database = urlsplit(self.stack.redis_server.url), urlsplit(self.stack.database_url)
        mutt = self.folder / "mutt"
        mutt.mkdir(exist_ok=True)
        if not (mutt / "monitoring").exists():
            (mutt / "monitoring").symlink_to(MONITORING)
        for name, key in (("key", WEBUI_API_KEY), ("ingest-key", INGEST_API_KEY)):
            (self.folder / name).write_text(f"X-API-KEY: {key}\n", encoding="utf-8")
        return Shell(
            self.folder,
            {
                **database_environment(self.stack.database_url),
                **ports,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "HOSTNAME": "runbook.example",
                "MUTT": str(mutt),
                "PROMETHEUS": self.prometheus.url,
                "KEY": str(self.folder / "key"),
                "INGEST_KEY": str(self.folder / "ingest-key"),
                "REDIS": f"-h {redis.hostname} -p {redis.port}",
                "REDISCLI_AUTH": redis.password or "",
                "PGHOST": str(database.hostname),
                "PGPORT": str(database.port),
                "PGDATABASE": database.path.strip("/"),
                "PGUSER": str(database.username),
                "PGPASSWORD": str(database.password),
            },
        )


@contextmanager
def staged(
    folder: Path, databases: Databases, nurseries: Callable[[Service], Nursery | None] = lambda _service: None
) -> Iterator[Stage]:
    """Start the services, put them under load and under Prometheus; the way to Moogsoft is TLS."""
    moogsoft = Moogsoft(tls=True)
    started: list[Prometheus] = []

    def watch(stack: Stack) -> None:
        # Its first sample comes six seconds after its start.
        started.append(Prometheus(folder / "prometheus", stack))
        started[0].start()

    changes = {"MOOG_WEBHOOK_URL": moogsoft.url, "MOOG_CA_CERT_PATH": str(TLS_FOLDER / "certificate.pem")}
    (folder / "services").mkdir()
    (folder / "prometheus").mkdir()
    try:
        with running(folder / "services", databases, SHORT | changes, beside=watch, nurseries=nurseries) as stack:
            stage = Stage(folder, stack, moogsoft, started[0], Load(stack))
            stage.load.start()
            yield stage
            stage.load.stop()
    finally:
        for prometheus in started:
            prometheus.stop()
        moogsoft.close()


def blocks(page: Path) -> list[str]:
    """Return the blocks of a page that are to be run."""
    return re.findall(r"^```sh run\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def follow(stage: Stage, page: Path) -> str:
    """Run all blocks of a page as they stand and return what they printed; a command that fails ends it."""
    with stage.shell() as shell:
        printed = "".join(shell.run(block) for block in blocks(page))
    for sign in ("ERR ", "NOAUTH", "WRONGTYPE", "parse error", "psql: error", '"status":"error"'):
        assert sign not in printed, f"{page.name}:\n{printed}"
    return printed

"""All of MUTT for a command: servers of its own, proxies before them, every service twice, senders as a process.

Each service is a slot: a name, its ports and a POD_NAME that stay, and a process of this release or of the older one.
Secrets are files, so that they can be rotated. Everything is in one folder and gone with the process.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import redis
import requests

from scripts.devtools.embedded import PostgresServer, RedisServer
from scripts.devtools.privileges import die_with_parent
from scripts.devtools.services import HOST, TREE, database_environment, redis_environment
from tests.chaos.senders import Senders, replace
from tests.chaos.stage import SETTINGS, make_rules
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Child
from tests.harness.processes import ServiceProcess, fetch, find_service
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases
from tests.upgrade.older import OlderRelease

NAMES = ("ingestor", "alerter", "moog-forwarder", "remediation", "webui")
INSTANCES = 2  # of each but the web UI
CONSOLE_TIMEOUT = 10.0  # seconds


class Slot:
    """One instance of a service: what a supervisor keeps alive, whichever release it is of."""

    def __init__(self, name: str, now: ServiceProcess, other: ServiceProcess | None) -> None:
        self.name = name
        self.now = now
        self._other = other
        self.lock = threading.RLock()  # held while it is meant to be down

    @property
    def process(self) -> subprocess.Popen[bytes] | Child:
        """Its process, running or ended."""
        return self.now.process

    @property
    def is_up(self) -> bool:
        """Whether it answers, well or not."""
        return self.now.running and fetch(self.now.health_url, 2.0)[0] != 0

    def kill(self) -> None:
        """Kill -9."""
        self.now.kill()

    def start(self, *, wait: bool = True) -> None:
        """Start it again."""
        self.now.start(wait=wait)

    def change(self) -> None:
        """Let the next start be of the other release, where it has one."""
        if self._other is not None:
            self.now, self._other = self._other, self.now


class Arena:
    """What a run plays in."""

    services: tuple[str, ...] = NAMES

    def __init__(
        self,
        folder: Path,
        instances: int = INSTANCES,
        older: OlderRelease | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.older = older
        self.redis = RedisServer(folder / "redis")
        self.postgres = PostgresServer(folder / "postgres")
        self.moogsoft = MoogStandIn(folder, MOOG_API_KEY)
        self.senders = Senders(folder)
        self.ingest_key = INGEST_API_KEY
        self.slots: list[Slot] = []
        self.ended: Counter[str] = Counter()  # slots whose process ended by itself
        self._instances = instances
        self._more = more or {}
        self._stack = ExitStack()
        self._enough = threading.Event()

    def open(self) -> None:
        """Start the servers and the services, and wait until all are well."""
        for folder in (self.folder / "secrets", self.folder / "archive"):
            folder.mkdir()
        for server in (self.redis, self.postgres, self.moogsoft):
            server.start()
        databases = Databases(self.postgres)
        self.database_url = databases.create(migrated=self.older is None)
        if self.older is not None:
            self.older.run("scripts/migrate.py", DATABASE_URL=self.database_url)
        make_rules(self.database_url)
        self.proxies = {
            "redis": self._stack.enter_context(Proxy(self.redis.url)),
            "postgres": self._stack.enter_context(Proxy(self.database_url)),
            "moogsoft": self._stack.enter_context(Proxy(f"{self.moogsoft.url}/")),
        }
        environment = self._environment()
        for name in self.services:
            count = 1 if name == "webui" else self._instances
            self.slots += [self._slot(name, number, environment) for number in range(count)]
        for slot in self.slots:
            slot.start(wait=False)
        for slot in self.slots:
            slot.now.wait_healthy()
        threading.Thread(target=self._tend, daemon=True).start()

    def of(self, name: str) -> list[Slot]:
        """Return the slots of a service."""
        return [slot for slot in self.slots if slot.now.service.name == find_service(name).name]

    def client(self) -> redis.Redis:
        """Return a client of Redis itself, past the proxy."""
        return redis.Redis.from_url(self.redis.url, socket_timeout=5)

    def order(self, pause: tuple[float, float] | None = None) -> None:
        """Tell the senders where to send, with which key, and how fast from now on."""
        self.senders.order([slot.now.url for slot in self.of("ingestor")], self.ingest_key, pause)

    def _environment(self) -> dict[str, str]:
        found = {
            **redis_environment(self.proxies["redis"].url),
            **database_environment(self.proxies["postgres"].url),
            "MOOG_WEBHOOK_URL": f"http://{HOST}:{self.proxies['moogsoft'].port}/events",
            "WEBUI_API_KEY": WEBUI_API_KEY,
            "MOOG_API_KEY": MOOG_API_KEY,
            "INGEST_API_KEY": INGEST_API_KEY,
            "MUTT_BIND_HOST": HOST,
            "WEBUI_INSECURE_COOKIES": "true",
            "DYNAMIC_CONFIG_ENABLED": "true",
            "SECRETS_REFRESH_INTERVAL": "5",  # for who sleeps through the SIGHUP of a rotation
            **self._more,
        }
        for name in ("INGEST_API_KEY", "REDIS_PASS_CURRENT", "DB_PASS_CURRENT"):
            self.keep_secret(name, found.pop(name))
            self.keep_secret(next_of(name), "")
            for each in (name, next_of(name)):
                found[f"{each}_FILE"] = str(self.folder / "secrets" / each)
        return found

    def keep_secret(self, name: str, value: str) -> None:
        """Write a secret where services read it."""
        replace(self.folder / "secrets" / name, value)

    def secret(self, name: str) -> str:
        """Return a secret as the services read it."""
        return (self.folder / "secrets" / name).read_text(encoding="utf-8")

    def _slot(self, name: str, number: int, environment: Mapping[str, str]) -> Slot:
        pod = f"{name}-{number}"
        variables = {"POD_NAME": pod, **SETTINGS.get(name, {}), **environment}
        ours = ServiceProcess(find_service(name), variables, self.folder / f"{pod}.log")
        if self.older is None:
            return Slot(pod, ours, None)
        theirs = self.older.service(name, variables, self.folder / f"older-{pod}.log")
        theirs.environment = {**ours.environment, **self.older.environment()}
        theirs.ports = ours.ports
        # The doors of Splunk and OpenTelemetry are younger than that release: one ingestor is of this one all along.
        return Slot(pod, ours, None) if pod == "ingestor-0" else Slot(pod, theirs, ours)

    def _tend(self) -> None:
        """Start again what ended by itself, as a supervisor does, and remember it."""
        while not self._enough.wait(1):
            for slot in self.slots:
                if slot.lock.acquire(blocking=False):
                    with slot.lock:
                        if not slot.now.running:
                            self.ended[f"{slot.name} with {slot.now.process.returncode}"] += 1
                            slot.start(wait=False)
                    slot.lock.release()

    def console(self, method: str, path: str, body: object = None) -> requests.Response | None:
        """Ask the web UI's API; None when nobody answers."""
        url = f"{self.of('webui')[0].now.url}/api/v2{path}"
        headers = {"X-API-KEY": WEBUI_API_KEY}
        try:
            return requests.request(method, url, json=body, headers=headers, timeout=CONSOLE_TIMEOUT)
        except requests.RequestException:
            return None

    def script(self, name: str, *arguments: str, kill_after: float | None = None) -> str:
        """Run one of the scripts and return what it printed; with `kill_after` it is killed -9 after that time."""
        process = subprocess.Popen(
            [sys.executable, str(TREE / "scripts" / name), "--database-url", self.database_url, *arguments],
            env={"PATH": os.environ["PATH"], "ARCHIVE_LOCATION": str(self.folder / "archive")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
        )
        try:
            said, _ = process.communicate(timeout=kill_after or 120)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
        with (self.folder / "scripts.log").open("a", encoding="utf-8") as log:
            log.write(f"--- {name} {' '.join(arguments)}: {process.returncode}\n{said}")
        return said

    def close(self) -> None:
        """End everything."""
        self._enough.set()
        self.senders.close()
        for slot in self.slots:
            with slot.lock:
                slot.now.close()
        self._stack.close()
        self.moogsoft.kill()
        self.postgres.stop()
        self.redis.stop()

    def keep_logs(self, folder: Path) -> None:
        """Copy what a reader of a failure wants to see."""
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in ("*.log", "*.ndjson", "redis/*.log"):
            for file in self.folder.glob(pattern):
                shutil.copy(file, folder / file.name)
        with (
            psycopg.connect(self.database_url) as connection,
            connection.cursor().copy("COPY (SELECT to_jsonb(e) FROM event_audit_log e) TO STDOUT") as rows,
            (folder / "audit.ndjson").open("wb") as kept,
        ):
            kept.writelines(bytes(row) for row in rows)


@contextmanager
def work_folder() -> Iterator[Path]:
    """Make a folder that PostgreSQL's user may pass through, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mutt-proof-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def next_of(name: str) -> str:
    """Return the name of a secret's successor."""
    return f"{name.removesuffix('_CURRENT')}_NEXT"


def wait_read(slots: Iterable[Slot], since: float, patience: float = 60.0) -> bool:
    """Tell whether every instance has read its secrets since a time; False when one takes too long."""
    until = time.monotonic() + patience
    for slot in slots:
        while True:
            try:
                read_at = slot.now.metric("mutt_secrets_read_timestamp_seconds")
            except AssertionError:  # it is down just now
                read_at = None
            if read_at is not None and read_at >= since:
                break
            if time.monotonic() > until:
                return False
            threading.Event().wait(0.2)
    return True

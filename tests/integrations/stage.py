"""What the tests of the senders stand on: an ingestor and an alerter on real servers, and the senders' own programs."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from mutt import keys
from scripts.devtools.embedded import RedisServer
from scripts.devtools.privileges import die_with_parent
from tests.harness.credentials import INGEST_API_KEY
from tests.harness.processes import ServiceProcess
from tests.harness.programs import Program
from tests.harness.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
INTEGRATIONS = ROOT / "integrations"
# Seconds that MUTT is away: enough for each sender's first tries to fail. OUTAGE_SECONDS=20 is the long form.
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "1.5"))
QUEUE = "mutt:ingest_queue"
CAP = "max_ingest_queue_size"


@dataclass
class Stage:
    """The services; a test tells its events from others' by their hostnames."""

    redis_server: RedisServer
    database_url: str
    ingestor: ServiceProcess
    alerter: ServiceProcess

    @property
    def url(self) -> str:
        """The ingestor's address."""
        return self.ingestor.url

    def rows(self, host: str) -> list[dict[str, Any]]:
        """Return the audit rows of a host, in the order of their events' times."""
        with psycopg.connect(self.database_url, row_factory=psycopg.rows.dict_row) as connection:
            statement = "SELECT * FROM event_audit_log WHERE hostname = %s ORDER BY event_timestamp, message"
            return connection.execute(statement, (host,)).fetchall()

    def wait_rows(self, host: str, count: int) -> list[dict[str, Any]]:
        """Wait until the host has `count` rows and nothing of anybody waits any more; return them."""
        try:
            wait_for(lambda: len(self.rows(host)) >= count, f"{count} audit rows of {host}", 60)
        except AssertionError as error:
            seen = f"{len(self.rows(host))} are there"
            raise AssertionError(f"{error}; {seen}; the alerter:\n{self.alerter.log()[-2000:]}") from None
        self.wait_calm()
        return self.rows(host)

    def wait_calm(self) -> None:
        """Wait until nothing is queued and no alerter holds anything."""
        with redis.Redis.from_url(self.redis_server.url) as client:
            wait_for(
                lambda: not client.llen(QUEUE) and not list(client.scan_iter("mutt:processing:*")),
                "an empty ingest queue",
            )

    def quarantined(self) -> int:
        """Return how many records the quarantine holds."""
        with redis.Redis.from_url(self.redis_server.url) as client:
            return int(client.llen(keys.QUARANTINE))

    def refused(self, reason: str) -> float:
        """Return how many events were refused for a reason."""
        return self.ingestor.metric("mutt_ingest_requests_total", status="fail", reason=reason) or 0

    def accepted(self) -> float:
        """Return how many events the running ingestor has taken."""
        return self.ingestor.metric("mutt_ingest_requests_total", status="success", reason="") or 0

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Kill the ingestor; it is back after the block, and after OUTAGE_SECONDS at the earliest."""
        self.ingestor.kill()
        began = time.monotonic()
        try:
            yield
            wait_for(lambda: time.monotonic() - began >= OUTAGE_SECONDS, "the end of the outage", OUTAGE_SECONDS + 10)
        finally:
            self.ingestor.start()

    @contextmanager
    def full_queue(self) -> Iterator[None]:
        """Let the queue be at its cap: the ingestor answers 503."""
        self.alerter.signal(signal.SIGSTOP)
        with redis.Redis.from_url(self.redis_server.url) as client:
            client.lpush(QUEUE, b"{}", b"{}")  # dead letters once the alerter goes on
            client.set(keys.config(CAP), "1")
            client.publish(keys.CONFIG_UPDATES, CAP)
            try:
                yield
            finally:
                client.delete(keys.config(CAP))
                client.publish(keys.CONFIG_UPDATES, CAP)
                self.alerter.signal(signal.SIGCONT)


class Running:
    """A sender's program."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> None:
        self.log_file = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # one system call, no lock
            )

    def log(self) -> str:
        """Return what it printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout: float = 30) -> int:
        """Stop it in order and return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {timeout:g} s of SIGTERM:\n{self.log()[-2000:]}") from None


def started(program: Program, arguments: Sequence[str], folder: Path, **environment: str) -> Running:
    """Start an outside program in a folder of its own."""
    command = [str(program.path), *arguments]
    return Running(command, {**program.environment, **environment}, folder / f"{program.path.name}.log", folder)


def adapted(configuration: str, replacements: Mapping[str, str]) -> str:
    """Return a configuration of integrations/ as it stands, but for the paths, ports and addresses of a test."""
    text = (INTEGRATIONS / configuration).read_text(encoding="utf-8")
    for old, new in replacements.items():
        assert old in text, f"{configuration} holds no {old!r}"
        text = text.replace(old, new)
    return text


def write_settings(path: Path, url: str, **more: str) -> Path:
    """Write the file that every sender reads, from the one that is shipped."""
    path.touch(mode=0o600)
    values = {"MUTT_URL": url, "MUTT_API_KEY": INGEST_API_KEY, "MUTT_LONGEST_PAUSE": "0.5", "MUTT_TIMEOUT": "10"}
    path.write_text("".join(f"{name}={value}\n" for name, value in (values | more).items()), encoding="utf-8")
    return path


def descendants(pid: int, name: str) -> list[int]:
    """Return the children of a process whose command line holds `name`."""
    children = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in children if any(name in part for part in child.cmdline())]

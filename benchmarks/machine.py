"""What a benchmark measures by: real servers, processes, their CPU time, and the machine's description."""

import os
import platform
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import psutil
import psycopg
from redis import Redis

from scripts.devtools.embedded import PostgresServer, RedisServer, durable_settings

TREE = Path(__file__).resolve().parent.parent
DEADLINE = 120.0  # seconds that a start or a drain may take


@dataclass
class Servers:
    """A Redis and a PostgreSQL for both stacks."""

    redis: RedisServer
    postgres: PostgresServer

    @property
    def client(self) -> Redis:
        """A plain client."""
        return Redis(host="127.0.0.1", port=self.redis.port, password=self.redis.password)

    def processes(self) -> list[psutil.Process]:
        """Return both servers' main processes."""
        assert self.redis.process is not None
        assert self.postgres.process is not None
        return [psutil.Process(self.redis.process.pid), psutil.Process(self.postgres.process.pid)]


@contextmanager
def servers(appendfsync: str) -> Iterator[Servers]:
    """Start both servers in a folder that is thrown away; `appendfsync` is always, everysec or off."""
    with tempfile.TemporaryDirectory(prefix="mutt-benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        cache, database = RedisServer(folder / "redis"), PostgresServer(folder / "postgres")
        database.settings = durable_settings(folder)
        try:
            cache.start()
            database.start()
            pair = Servers(cache, database)
            with pair.client as client:
                if appendfsync == "off":
                    client.config_set("appendonly", "no")
                else:
                    client.config_set("appendfsync", appendfsync)
            yield pair
        finally:
            cache.stop()
            database.stop()


def configure(pair: Servers, settings: Mapping[str, str]) -> None:
    """Start PostgreSQL again with settings of its own."""
    with psycopg.connect(pair.postgres.url(), autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
    pair.postgres.stop()
    pair.postgres.start()


def require_disk(pair: Servers, needed: int) -> None:
    """End the benchmark where PostgreSQL's disk has not that many bytes left."""
    free = psutil.disk_usage(str(pair.postgres.folder)).free
    if free < needed:
        raise SystemExit(
            f"{needed / 1e9:.1f} GB of disk are needed in {tempfile.gettempdir()}, {free / 1e9:.1f} are free"
        )


@contextmanager
def processes(
    commands: Sequence[Sequence[str]], environ: Mapping[str, str], log: Path
) -> Iterator[list[psutil.Process]]:
    """Run commands side by side and end them at the end; their output goes to `log`."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as output:
            for command in commands:
                started.append(  # noqa: PERF401  (each has to be in the list before the next one may fail)
                    subprocess.Popen(
                        command,
                        env={**os.environ, **environ},
                        cwd=TREE,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                    )
                )
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_seconds(roots: Sequence[psutil.Process]) -> float:
    """Return user and system time of the processes, their living and their ended children."""
    total = 0.0
    for root in roots:
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
    return total


def wait_until(true: Callable[[], bool], what: str, *, every: float = 0.02) -> None:
    """Return once `true()`; ends the benchmark when it takes too long."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen within {DEADLINE:g} s")
        time.sleep(every)


def wait_listening(port: int, what: str, started: Sequence[psutil.Process]) -> None:
    """Return once something listens on the port; ends the benchmark when a process has ended."""

    def listens() -> bool:
        _require_running(started, what)
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, f"the start of {what}")


def is_connected(port: int) -> bool:
    """Tell whether a process holds a connection that came to the port."""
    return any(
        found.pid is not None and found.laddr.port == port and found.status != psutil.CONN_LISTEN
        for found in psutil.net_connections("tcp4")
        if found.laddr
    )


def wait_healthy(port: int, what: str, started: Sequence[psutil.Process]) -> None:
    """Return once /health on the port answers 200."""

    def healthy() -> bool:
        _require_running(started, what)
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    wait_until(healthy, f"the start of {what}", every=0.1)


def _require_running(started: Sequence[psutil.Process], what: str) -> None:
    if any(process.status() == psutil.STATUS_ZOMBIE for process in started):
        raise SystemExit(f"a process ended while waiting for {what}")


def database_url(server: PostgresServer, name: str) -> str:
    """Make a database and return its URL."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url(name)


def model() -> str:
    """Return the processor's name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe() -> str:
    """Return one line about this machine."""
    memory = psutil.virtual_memory().total / (1 << 30)
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model()}, {memory:.0f} GiB, {system}"

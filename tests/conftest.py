"""Fixtures for tests on real servers.

    redis_url           an empty Redis (the worker's server, flushed): redis://:password@127.0.0.1:port/0
    redis_client        redis.asyncio client on it, raw bytes
    redis_server        the worker's RedisServer itself; do not kill it, take `own_redis` for that
    own_redis           a RedisServer of this test alone: .url .kill() .start() .stop() .pause() .resume()
    database_url        a fresh, migrated database of this test, as its owner mutt_user
    empty_database_url  likewise without any table
    own_postgres        a PostgresServer of this test alone, with `own_database_url` migrated on it
    proxy               proxy(url) -> Proxy in front of a server: cut, hang, mend, lose_reply (see harness/proxy.py)
    moog_stand_in       the Moogsoft stand-in as a process: .url .stats() .alerts() .behave(status=503, times=2) .kill()
    start_service       start_service("alerter", CACHE_RELOAD_INTERVAL="1", wait=True) -> ServiceProcess
                        (.url .health_url .metrics_url .pid .log() .metric() .kill() .terminate() .restart())

A service of `start_service` uses `redis_url` and `database_url`, or `own_redis` / `own_postgres` when the test asks
for those, and sends to `moog_stand_in` if the test has it. Any variable can be overridden: REDIS_PORT=str(proxy.port).
Coroutines are tests (anyio_mode=auto); their fixtures run in the same loop. Never sleep: `wait_for`, `eventually`
(harness/waiting.py). With CI=true a skipped test is a failed one.
"""

import gc
import io
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
import redis
import redis.asyncio

from mutt.settings import LogSettings
from scripts.devtools.embedded import PostgresServer, RedisServer
from scripts.devtools.services import HOST, TREE, Service, database_environment, redis_environment
from services.logging_utils import configure
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Nursery
from tests.harness.processes import ServiceProcess, StartService, find_service
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
NOBODY_LISTENS = f"http://{HOST}:9/events"

# Before anything imports gRPC: it would start threads of its own in each process that a test starts by a fork.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

# How long an example takes is the machine's affair: neither a deadline nor slow data is a fault.
hypothesis.settings.register_profile(
    "mutt",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("mutt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Look for no garbage while tests are collected: nearly all that is made then stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep what stays out of every later look for garbage."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a skip is a failure: what was not tried was not tested."""
    report = yield
    return report if hasattr(report, "wasxfail") else refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do so for a whole module too."""
    return refuse_skip((yield))


def refuse_skip(report: Report) -> Report:
    """Turn a skip into a failure with CI=true."""
    if report.skipped and os.environ.get("CI", "").lower() == "true":
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, which CI=true forbids: {report.longrepr}"
    return report


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutines on asyncio alone: the services do."""
    return "asyncio"


@pytest.fixture
def said() -> Iterator[Callable[[], str]]:
    """Return what gives the lines that were logged since it was last called, whoever set logging up before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(LogSettings(), "test")
    handler, lines = root.handlers[0], io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(lines)

    def take() -> str:
        text = lines.getvalue()
        lines.seek(0)
        lines.truncate()
        return text

    yield take
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """Return a folder that PostgreSQL's user may pass through, gone after the run."""
    folder = Path(tempfile.mkdtemp(prefix="mutt-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[RedisServer]:
    """Run one Redis a worker."""
    server = RedisServer(server_folder / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """Empty the worker's Redis and put back its configuration afterwards."""
    with redis.Redis.from_url(redis_server.url) as client:
        before = client.config_get("*")
        client.flushall()
        client.script_flush()
        yield redis_server.url
        after = client.config_get("*")
        for name, value in before.items():
            if after[name] != value:
                client.config_set(name, value)
        client.client_unpause()


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Open a client that returns raw bytes."""
    client = redis.asyncio.Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that the test may kill."""
    server = RedisServer(tmp_path / "own-redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(server_folder: Path) -> Iterator[Databases]:
    """Run one PostgreSQL a worker."""
    server = PostgresServer(server_folder / "postgres")
    server.start()
    yield Databases(server)
    server.stop()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """Make a migrated database."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """Make a database without tables."""
    url = databases.create(migrated=False)
    yield url
    databases.drop(url)


@pytest.fixture
def own_postgres(server_folder: Path) -> Iterator[PostgresServer]:
    """Run a PostgreSQL that the test may kill."""
    folder = Path(tempfile.mkdtemp(prefix="own-", dir=server_folder))
    folder.chmod(0o755)
    server = PostgresServer(folder / "postgres")
    server.start()
    yield server
    server.resume()
    server.stop()


@pytest.fixture
def own_database_url(own_postgres: PostgresServer) -> str:
    """Make a migrated database on the test's own PostgreSQL."""
    return Databases(own_postgres).create()


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """Put proxies in front of servers."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(Proxy(url))


@pytest.fixture
def moog_stand_in(tmp_path: Path) -> Iterator[MoogStandIn]:
    """Run the Moogsoft stand-in as a process."""
    stand_in = MoogStandIn(tmp_path, MOOG_API_KEY)
    stand_in.start()
    yield stand_in
    stand_in.kill()


@pytest.fixture
def service_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what every service of this test is started with, servers and secrets included."""
    asked = request.fixturenames
    redis_url = request.getfixturevalue("own_redis").url if "own_redis" in asked else None
    database = "own_database_url" if "own_postgres" in asked or "own_database_url" in asked else "database_url"
    moog = request.getfixturevalue("moog_stand_in").events_url if "moog_stand_in" in asked else NOBODY_LISTENS
    return {
        **redis_environment(redis_url or request.getfixturevalue("redis_url")),
        **database_environment(request.getfixturevalue(database)),
        "INGEST_API_KEY": INGEST_API_KEY,
        "WEBUI_API_KEY": WEBUI_API_KEY,
        "MOOG_API_KEY": MOOG_API_KEY,
        "MOOG_WEBHOOK_URL": moog,
        "MUTT_BIND_HOST": HOST,
        "WEBUI_INSECURE_COOKIES": "true",
    }


@pytest.fixture(scope="session")
def nurseries() -> Iterator[Callable[[Service], Nursery]]:
    """Return what starts a service in little time, made at the first start of each."""
    made: dict[str, Nursery] = {}

    def nursery(service: Service) -> Nursery:
        if service.name not in made:
            made[service.name] = Nursery(TREE / "services" / service.entry)
        return made[service.name]

    yield nursery
    for each in made.values():
        each.close()


@pytest.fixture
def start_service(
    service_environment: dict[str, str], tmp_path: Path, nurseries: Callable[[Service], Nursery]
) -> Iterator[StartService]:
    """Start services by the path of their entry file; all are ended with the test."""
    started: list[ServiceProcess] = []

    def start(name: str, *, wait: bool = True, **environment: str) -> ServiceProcess:
        service = find_service(name)
        log = tmp_path / f"{service.name}-{len(started)}.log"
        pod = {"POD_NAME": f"{service.name}-{len(started)}"}
        process = ServiceProcess(service, {**service_environment, **pod, **environment}, log, nurseries(service))
        started.append(process)
        process.start(wait=wait)
        return process

    yield start
    for process in reversed(started):
        process.close()

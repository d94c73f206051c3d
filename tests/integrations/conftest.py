"""One ingestor and one alerter a worker, for all senders: a test's events are those of its own hostnames."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.devtools.embedded import RedisServer
from scripts.devtools.services import HOST, database_environment, redis_environment
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.processes import ServiceProcess, find_service
from tests.harness.proxy import Proxy
from tests.harness.servers import Databases
from tests.integrations.stage import Running, Stage, write_settings

SETTINGS = {
    "INGEST_API_KEY": INGEST_API_KEY,
    "WEBUI_API_KEY": WEBUI_API_KEY,
    "MOOG_API_KEY": MOOG_API_KEY,
    "MUTT_BIND_HOST": HOST,
    "POD_NAME": "senders",
    "DYNAMIC_CONFIG_ENABLED": "true",
    "UNHANDLED_THRESHOLD": "1000000",
}


@pytest.fixture(scope="session")
def stage(server_folder: Path, databases: Databases) -> Iterator[Stage]:
    """Run the services."""
    server = RedisServer(server_folder / "senders-redis")
    server.start()
    database_url = databases.create()
    environment = {**redis_environment(server.url), **database_environment(database_url), **SETTINGS}
    services = [
        ServiceProcess(find_service(name), environment, server_folder / f"senders-{name}.log")
        for name in ("ingestor", "alerter")
    ]
    try:
        for service in services:
            service.start(wait=False)
        for service in services:
            service.wait_healthy()
        yield Stage(server, database_url, *services)
    finally:
        for service in services:
            service.close()
        server.stop()


@pytest.fixture
def host() -> str:
    """Return a hostname that no other test has."""
    return f"host-{secrets.token_hex(4)}.example"


@pytest.fixture
def settings_file(stage: Stage, tmp_path: Path) -> Path:
    """Write where MUTT is, and the key."""
    return write_settings(tmp_path / "sender.env", stage.url)


@pytest.fixture
def lossy(stage: Stage, settings_file: Path, proxy: Callable[[str], Proxy]) -> Proxy:
    """Put a proxy between the sender and MUTT; ask for it before the sender."""
    between = proxy(f"{stage.url}/")
    write_settings(settings_file, between.url)
    return between


@pytest.fixture
def end() -> Iterator[Callable[[Running], Running]]:
    """Take programs that end with the test."""
    running: list[Running] = []

    def take(program: Running) -> Running:
        running.append(program)
        return program

    yield take
    for program in reversed(running):
        program.kill()

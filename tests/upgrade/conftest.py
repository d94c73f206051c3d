"""Fixtures of the rolling upgrade: the older release, and a database as it made it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.harness.processes import ServiceProcess
from tests.harness.servers import Databases
from tests.upgrade.older import OlderRelease, check_out


class StartOlder(Protocol):
    """The fixture `start_older`."""

    def __call__(self, name: str, **environment: str) -> ServiceProcess:
        """Start a service of the older release; it is not waited for."""


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> OlderRelease:
    """Return the older release."""
    return check_out(tmp_path_factory.mktemp("older"))


@pytest.fixture
def database_url(databases: Databases, older: OlderRelease) -> Iterator[str]:
    """Make a database with the older release's schema, by its own command."""
    url = databases.create(migrated=False)
    older.run("scripts/migrate.py", DATABASE_URL=url)
    yield url
    databases.drop(url)


@pytest.fixture
def start_older(older: OlderRelease, service_environment: dict[str, str], tmp_path: Path) -> Iterator[StartOlder]:
    """Start services of the older release; all are ended with the test."""
    started: list[ServiceProcess] = []

    def start(name: str, **environment: str) -> ServiceProcess:
        variables = {**service_environment, "POD_NAME": f"older-{name}", **environment}
        service = older.service(name, variables, tmp_path / f"older-{name}.log")
        started.append(service)
        service.start(wait=False)
        return service

    yield start
    for service in reversed(started):
        service.close()

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.tls_servers import Authorities
from tests.service.doors import Doors, open_doors
from tests.service.moog_stage import Moogsoft, Stage
from tests.service.trail import Trail


@pytest.fixture
def trail(request: pytest.FixtureRequest) -> Trail:
    own_database = "own_postgres" in request.fixturenames
    database = request.getfixturevalue("own_database_url" if own_database else "database_url")
    own_redis = "own_redis" in request.fixturenames
    url = request.getfixturevalue("own_redis").url if own_redis else request.getfixturevalue("redis_url")
    return Trail(database, url)


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Stage:
    own = "own_redis" in request.fixturenames
    return Stage(request.getfixturevalue("own_redis").url if own else request.getfixturevalue("redis_url"))


@pytest.fixture
def moogsoft() -> Iterator[Moogsoft]:
    server = Moogsoft()
    yield server
    server.close()


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    return Authorities(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="session")
def shared_doors(server_folder: Path) -> Iterator[Doors]:
    with open_doors(server_folder) as doors:
        yield doors


@pytest.fixture
def doors(shared_doors: Doors) -> Doors:
    shared_doors.clear()
    return shared_doors

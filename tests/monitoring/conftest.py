"""One stack of the five services under load, with Prometheus, for all tests here that ask running ones."""

from collections.abc import Callable, Iterator

import pytest

from scripts.devtools.services import Service
from tests.harness.nursery import Nursery
from tests.harness.servers import Databases
from tests.monitoring.stage import Stage, staged


@pytest.fixture(scope="package")
def stage(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, nurseries: Callable[[Service], Nursery]
) -> Iterator[Stage]:
    """Start all of it."""
    with staged(tmp_path_factory.mktemp("watched"), databases, nurseries) as started:
        yield started

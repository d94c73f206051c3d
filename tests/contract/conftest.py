"""One stack of the five services for all tests here that ask running ones."""

from collections.abc import Iterator

import pytest

from tests.contract.stack import SHORT, Stack, running
from tests.harness.servers import Databases


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Stack]:
    """Start the five services."""
    with running(tmp_path_factory.mktemp("stack"), databases, SHORT) as started:
        yield started

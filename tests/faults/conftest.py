"""The stage that the faults of one module share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.devtools.services import Service
from tests.faults.stage import Stage, staged
from tests.harness.nursery import Nursery


@pytest.fixture(scope="module")
def stage(
    server_folder: Path, nurseries: Callable[[Service], Nursery], request: pytest.FixtureRequest
) -> Iterator[Stage]:
    """Run all services; a module's SETTINGS are added to theirs, by service."""
    folder = server_folder / request.module.__name__.replace(".", "-")
    folder.mkdir(mode=0o755)
    with staged(folder, nurseries, getattr(request.module, "SETTINGS", None)) as made:
        yield made

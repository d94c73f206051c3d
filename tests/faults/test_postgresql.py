"""Faults of PostgreSQL under a small load through all services, some of them in each run."""

import pytest

from tests.faults import observe, postgresql_servers, table
from tests.faults.choice import TIMEOUT, chosen
from tests.faults.stage import Stage

assert postgresql_servers

SETTINGS = {"alerter": {"ALERTER_DATABASE_GRACE": "1"}}
MOST = 6


@pytest.mark.timeout(TIMEOUT)
def test_what_is_seen_of_faults_of_postgresql_is_what_the_table_tells(stage: Stage) -> None:
    for fault in chosen("postgresql", MOST):
        print(fault)  # noqa: T201  (for the reader of a failure)
        observe.check(stage, fault)


def test_the_document_holds_a_row_for_each_fault_of_postgresql() -> None:
    assert list(table.documented("postgresql")) == [fault.name for fault in table.of("postgresql")]
